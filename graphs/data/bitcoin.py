"""Who-trusts-whom ratings of Bitcoin OTC and Bitcoin Alpha (SNAP's soc-sign-bitcoin*.csv).

No header; source, target, rating from -10 to 10, unix time. The weight of an edge is 1, so that
pairs have the number of their ratings; the rating itself is a label, and an input only where it is
asked for as an attribute, without the label then.
"""

from pathlib import Path

import numpy as np

from graphs.data.edge_labels import rating_labels
from graphs.data.events import EdgeEvents
from graphs.data.node_ids import number_nodes
from graphs.data.text_table import Kind, read_text_table

STEP_S = 1_200_000.0
MAX_RATING = 10
COLUMNS: dict[str, Kind] = {
    "source": "integer",
    "target": "integer",
    "rating": "integer",
    "time": "number",
}


def read_bitcoin(path: Path, *, rating_as: str = "label") -> EdgeEvents:
    """Ratings as edges with class 1 = positive, 0 = not.

    Args:
        path: The csv, plain or .gz.
        rating_as: `label`, or `attribute` for a column of numbers and no label.

    Raises:
        UserError: A row does not fit; naming its line.
    """
    table = read_text_table(path, COLUMNS)
    if (wrong := np.abs(table["rating"]) > MAX_RATING).any():
        row = int(wrong.argmax())
        raise table.fail(
            row,
            f"rating {table['rating'][row]} lies outside -10..10; correct the line, or read the "
            "file as your own with data.kind edges",
        )
    (source, target), ids = number_nodes(table["source"], table["target"])
    labels = rating_as == "label"
    return EdgeEvents(
        name=path.name,
        source=source,
        target=target,
        node_ids=ids,
        time_s=table["time"],
        label=rating_labels(table["rating"]) if labels else None,
        class_names=("negative", "positive") if labels else (),
        attributes=None if labels else table["rating"].astype(np.float32)[:, None],
        attribute_names=() if labels else ("rating",),
    )
