"""Links between subreddits (SNAP's soc-redditHyperlinks-{title,body}.tsv).

Columns: source, target, post, time, label +-1, properties (not read). Their nodes and features are
those of web-redditEmbeddings-subreddits.csv (name, 300 numbers): links of other subreddits are
dropped and counted. As in the released code of EvolveGCN, times are cut to days.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from foretell.errors import UserError
from graphs.data.edge_labels import rating_labels
from graphs.data.events import DAY_S, EdgeEvents
from graphs.data.node_ids import find_nodes, number_nodes
from graphs.data.text_table import Kind, TextTable, read_text_table, text_records
from graphs.data.times import seconds_of_dates

_log = logging.getLogger(__name__)

STEP_S = 7 * DAY_S
HEADER = "SOURCE_SUBREDDIT"
COLUMNS: dict[str, Kind] = {
    "source": "text",
    "target": "text",
    "post": "text",
    "time": "text",
    "label": "integer",
    "properties": "text",
}


def link_files(path: Path) -> list[Path]:
    """The tsv files of a folder, title before body; a file stands for itself."""
    if path.is_file():
        return [path]
    names = ("title", "body")
    return [
        file
        for name in names
        for file in sorted(path.glob(f"*redditHyperlinks*{name}*.tsv*"))
        if file.name.endswith((".tsv", ".tsv.gz"))
    ]


def read_reddit(path: Path) -> tuple[EdgeEvents, Float[Tensor, "nodes features"] | None]:
    """Links with class 1 = positive, and the features of the nodes.

    Args:
        path: A folder with one or both tsv files, or one of them; the node csv lies beside them.
            Without it all subreddits are kept and there are no features, which is logged.

    Raises:
        UserError: No tsv file, a row that does not fit, or a subreddit twice in the node csv.
    """
    files = link_files(path)
    if not files:
        raise UserError(f"{path} holds no soc-redditHyperlinks-title.tsv nor -body.tsv")
    tables = [_read_links(file) for file in files]
    names = [np.concatenate([table[name] for table in tables]) for name in ("source", "target")]
    days = np.concatenate([_days(table) for table in tables])
    label = rating_labels(np.concatenate([table["label"] for table in tables]))
    folder = path if path.is_dir() else path.parent
    nodes = sorted(folder.glob("*[eE]mbedding*.csv")) + sorted(folder.glob("*[eE]mbedding*.csv.gz"))
    if len(nodes) > 1:
        raise UserError(f"{folder} holds several node csv files: {nodes[0].name}, {nodes[1].name}")
    features, dropped = None, {}
    if nodes:
        ids, features = read_nodes(nodes[0])
        source, target = (find_nodes(column, ids) for column in names)
        known = (source >= 0) & (target >= 0)
        dropped["subreddit not in the node csv"] = int((~known).sum())
        source, target, days, label = source[known], target[known], days[known], label[known]
    else:
        _log.warning("%s: no node csv beside the links: nodes have no features", folder)
        (source, target), ids = number_nodes(*names)
    events = EdgeEvents(
        name=path.name,
        source=source,
        target=target,
        node_ids=ids,
        time_s=days,
        label=label,
        class_names=("negative", "positive"),
        dropped=dropped,
    )
    return events, features


def read_nodes(path: Path) -> tuple[np.ndarray, Float[Tensor, "nodes features"]]:
    """Names and features of the nodes, in the order of the file."""
    first = next(text_records(path, ","), (0, []))[1]
    kinds: dict[str, Kind] = {"name": "text"}
    kinds |= {f"number {place}": "number" for place in range(1, len(first))}
    table = read_text_table(path, kinds)
    _, where, counts = np.unique(table["name"], return_index=True, return_counts=True)
    if (counts > 1).any():
        name = table["name"][where[counts.argmax()]]
        again = int(np.flatnonzero(table["name"] == name)[1])
        raise table.fail(again, f"subreddit {name!r} stands there twice; remove one line")
    columns = [table[name].astype(np.float32) for name in kinds if name != "name"]
    if not columns:
        raise UserError(f"{path} has no numbers after the names; copy it again from its source")
    return table["name"], torch.from_numpy(np.stack(columns, axis=1))


def _read_links(path: Path) -> TextTable:
    header = next(text_records(path, "\t"), (0, [""]))[1]
    table = read_text_table(
        path,
        COLUMNS,
        separator="\t",
        header_lines=int(header[0] == HEADER),
        only=("source", "target", "time", "label"),
    )
    if (wrong := np.abs(table["label"]) != 1).any():
        row = int(wrong.argmax())
        raise table.fail(row, f"label {table['label'][row]} is neither 1 nor -1; correct the line")
    return table


def _days(table: TextTable) -> Float64[ndarray, " rows"]:
    seconds = seconds_of_dates(table["time"], table.fail)
    days: ndarray = np.floor(seconds / DAY_S)
    return days * DAY_S
