"""Numbers 0, 1, ... for what data call their nodes."""

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray


def number_nodes(
    *columns: Shaped[ndarray, " rows"],
) -> tuple[list[Int64[ndarray, " rows"]], Shaped[ndarray, " nodes"]]:
    """Number the distinct ids of all columns together: ascending, numbers as numbers.

    Returns:
        The columns as numbers of nodes, and the id of node 0, 1, ...

    Example:
        >>> number_nodes(np.array([7, 3]), np.array([3, 10]))
        ([array([1, 0]), array([0, 2])], array([ 3,  7, 10]))
    """
    if all(column.dtype.kind in "iu" and len(column) for column in columns):
        low = min(int(column.min()) for column in columns)
        span = max(int(column.max()) for column in columns) - low + 1
        if span <= 4 * sum(len(column) for column in columns) + 1024:  # a table beats hashing
            seen = np.zeros(span, bool)
            for column in columns:
                seen[column - low] = True
            number = np.cumsum(seen, dtype=np.int64) - 1
            return [number[column - low] for column in columns], np.flatnonzero(seen) + low
    import pandas as pd

    codes, found = pd.factorize(np.concatenate(columns))
    ids = np.asarray(found)
    order = np.argsort(ids, kind="stable")
    number = np.empty(len(ids), np.int64)
    number[order] = np.arange(len(ids))
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return [number[part] for part in np.split(codes, ends)], ids[order]


def find_nodes(
    column: Shaped[ndarray, " rows"], node_ids: Shaped[ndarray, " nodes"]
) -> Int64[ndarray, " rows"]:
    """Number of the node of every id in a given list of ids; -1 = it is not in the list."""
    import pandas as pd

    found: ndarray = pd.Index(node_ids).get_indexer(pd.Index(column))
    return found.astype(np.int64)
