"""Routing between autonomous systems, one file a day (SNAP's as-733: as19971108.txt, ...).

Each file: comment lines that begin with #, then `source<tab>target`. Days are numbered by the order
of the names, so that a day without a file is no step.
"""

import re
from pathlib import Path

import numpy as np

from foretell.errors import UserError
from graphs.data.events import EdgeEvents
from graphs.data.node_ids import number_nodes
from graphs.data.text_table import Kind, comment_lines, read_text_table

NUM_DAYS = 100
"""Days used as published, unless `max_steps` says otherwise."""
COLUMNS: dict[str, Kind] = {"source": "integer", "target": "integer"}
_NAME = re.compile(r"(as)?\d{8}\.txt(\.gz)?")
_PROMISED = re.compile(r".*\bEdges:\s*(\d+)")


def day_files(folder: Path) -> list[Path]:
    """The files of a folder that are named by their day, in order."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def read_as733(folder: Path, *, max_steps: int | None = None) -> EdgeEvents:
    """The edges of the first days; the nodes are those that occur in these days.

    Raises:
        UserError: No such file, a day twice, a row that does not fit, or fewer rows than a file
            says.
    """
    files = day_files(folder)[: max_steps or NUM_DAYS]
    if not files:
        raise UserError(
            f"{folder} holds no file of a day such as as19971108.txt; unpack as-733.tar.gz there"
        )
    days = [re.sub(r"\D", "", path.name.split(".")[0]) for path in files]
    if len(set(days)) < len(days):
        twice = next(day for day in days if days.count(day) > 1)
        raise UserError(f"{folder} holds the day {twice} twice; remove one of its files")
    sources, targets, steps = [], [], []
    for step, path in enumerate(files):
        table = read_text_table(path, COLUMNS, separator="", comment="#")
        if len(table) < (promised := _promised(path)):
            raise UserError(
                f"{path} promises {promised} edges, but {len(table)} rows follow; the file is cut "
                "short: copy it again"
            )
        sources.append(table["source"])
        targets.append(table["target"])
        steps.append(np.full(len(table), step, np.int64))
    (source, target), ids = number_nodes(np.concatenate(sources), np.concatenate(targets))
    return EdgeEvents(
        name=folder.name,
        source=source,
        target=target,
        node_ids=ids,
        step=np.concatenate(steps),
    )


def _promised(path: Path) -> int:
    found = (_PROMISED.match(line) for line in comment_lines(path, "#"))
    return next((int(match[1]) for match in found if match), 0)
