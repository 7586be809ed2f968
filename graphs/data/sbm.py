"""Generated block models as csv files: a header, then source, target, weight, number of the step.

The published file lists every pair in both directions. So that its weights stay as they are when
edges count in both directions, one direction of such a file is left out.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from graphs.data.events import EdgeEvents
from graphs.data.node_ids import number_nodes
from graphs.data.text_table import Kind, read_text_table

COLUMNS: dict[str, Kind] = {
    "source": "integer",
    "target": "integer",
    "weight": "number",
    "time": "integer",
}


def read_sbm(path: Path, *, directed: bool = False) -> EdgeEvents:
    """Edges of numbered steps.

    Args:
        path: The csv, plain or .gz.
        directed: Whether edges will keep their direction; then all rows are kept.

    Raises:
        UserError: A row does not fit; naming its line.
    """
    table = read_text_table(path, COLUMNS, header_lines=1)
    table.check_not_negative("weight")
    (source, target), ids = number_nodes(table["source"], table["target"])
    events = EdgeEvents(
        name=path.name,
        source=source,
        target=target,
        node_ids=ids,
        step=table["time"],
        weight=table["weight"],
    )
    return events if directed else one_direction(events)


def one_direction(events: EdgeEvents) -> EdgeEvents:
    """The same undirected graph from one edge a pair, if every edge stands there turned round too.

    A self-loop, which will count twice, keeps half its weight. Other events come back as they are.
    """
    assert events.step is not None and events.weight is not None
    nodes = len(events.node_ids)
    base = (events.step - events.step.min()) * nodes**2
    forth = base + events.source * nodes + events.target
    back = base + events.target * nodes + events.source
    there, turned = (np.lexsort((events.weight, key)) for key in (forth, back))
    if not (
        np.array_equal(forth[there], back[turned])
        and np.array_equal(events.weight[there], events.weight[turned])
    ):
        return events
    kept = events.source <= events.target
    loop = (events.source == events.target)[kept]
    return replace(
        events,
        source=events.source[kept],
        target=events.target[kept],
        step=events.step[kept],
        weight=np.where(loop, 0.5, 1.0) * events.weight[kept],
    )
