"""Temporal networks of the KONECT collection: files `out.<name>`.

Lines that begin with % ("% asym positive", then "% edges nodes nodes"), then `source target weight
time` between white space, ids from 1, unix time.
"""

from pathlib import Path

from foretell.errors import UserError
from graphs.data.events import DAY_S, EdgeEvents
from graphs.data.node_ids import number_nodes
from graphs.data.text_table import Kind, comment_lines, read_text_table

UCI_STEP_S = 190_080.0
COLUMNS: dict[str, Kind] = {
    "source": "integer",
    "target": "integer",
    "weight": "number",
    "time": "number",
}


def default_step_s(path: Path) -> float:
    """Seconds of a step as published for the UC Irvine messages (2.2 days); others a day."""
    return UCI_STEP_S if "opsahl-ucsocial" in path.name else DAY_S


def read_konect(path: Path) -> EdgeEvents:
    """Edges with the weights and times of the file.

    Raises:
        UserError: A row does not fit, there are fewer rows than the file says, no times, or two
            kinds of nodes that share numbers.
    """
    comments = comment_lines(path, "%")
    if comments and comments[0].split()[:1] == ["bip"]:
        raise UserError(
            f"{path} is bipartite: its two kinds of nodes share numbers; give them different ids "
            "and read it with data.kind edges"
        )
    table = read_text_table(path, COLUMNS, separator="", comment="%")
    table.check_not_negative("weight")
    promised = comments[1].split()[:1] if len(comments) > 1 else []
    if promised and promised[0].isdigit() and int(promised[0]) > len(table):
        raise UserError(
            f"{path}: line 2 promises {promised[0]} edges, but {len(table)} rows follow; the file "
            "is cut short: copy it again, or remove that line"
        )
    (source, target), ids = number_nodes(table["source"], table["target"])
    return EdgeEvents(
        name=path.name,
        source=source,
        target=target,
        node_ids=ids,
        time_s=table["time"],
        weight=table["weight"],
    )
