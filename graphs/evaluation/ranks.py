"""Ranks among competitors with ties, and means of their reciprocals (MRR, higher is better).

    rank = #greater + (#equal + 1) / 2      #equal counts the ranked item itself

That is the mean rank of a tied group. Released EvolveGCN code takes an unstable argsort instead, so
its tied ranks are arbitrary. A mean over nothing is refused.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

Ties = Literal["mean", "optimistic", "pessimistic"]


def tied_ranks(
    greater: Num[ndarray, " items"], equal: Num[ndarray, " items"], ties: Ties = "mean"
) -> Float[ndarray, " items"]:
    """Rank of each item, 1 = best.

    Args:
        greater: Competitors with a higher score; weighted counts are allowed.
        equal: Competitors with the same score, the item itself included.
        ties: Where in its tied group an item stands: in the middle, first, or last.

    Example:
        >>> tied_ranks(np.array([0, 2]), np.array([1, 3]))
        array([1., 4.])
    """
    match ties:
        case "mean":
            return np.asarray(greater + (equal + 1) / 2, np.float64)
        case "optimistic":
            return np.asarray(greater + 1, np.float64)
        case "pessimistic":
            return np.asarray(greater + equal, np.float64)


def counts_within_rows(
    row: Int[ndarray, " items"],
    score: Float[ndarray, " items"],
    weight: Float[ndarray, " items"] | None = None,
) -> tuple[Float[ndarray, " items"], Float[ndarray, " items"]]:
    """How much weight of an item's own row scores higher, and how much the same (itself included).

    Args:
        row: Group of each item.
        score: No NaN.
        weight: Items an item stands for; none = 1.

    Returns:
        `greater` and `equal` for `tied_ranks`.
    """
    order = np.lexsort((score, row))[::-1]
    row, score = row[order], score[order]
    weight = np.ones(len(row)) if weight is None else weight[order].astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(weight)])
    new_row = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
    new_group = new_row.copy()
    new_group[1:] |= score[1:] != score[:-1]
    group_starts = np.flatnonzero(new_group)
    group = np.cumsum(new_group) - 1
    row_start = np.flatnonzero(new_row)[np.cumsum(new_row) - 1]
    group_ends = np.append(group_starts[1:], len(row))
    greater, equal = np.empty(len(row)), np.empty(len(row))
    greater[order] = before[group_starts][group] - before[row_start]
    equal[order] = (before[group_ends] - before[group_starts])[group]
    return greater, equal


def mean_over_sources(value: Float[ndarray, " items"], source: Int[ndarray, " items"]) -> float:
    """Mean over sources of each source's mean.

    Raises:
        ValueError: There is nothing to average.
    """
    if not len(value):
        raise ValueError("no positive pair to average over: leave out steps without one")
    row = np.unique(source, return_inverse=True)[1]
    return float(np.mean(np.bincount(row, weights=value) / np.bincount(row)))


def one_vs_many_ranks(
    positive: Float[ndarray, " positives"],
    negatives: Float[ndarray, "positives many"],
    ties: Ties = "mean",
) -> Float[ndarray, " positives"]:
    """Rank of each positive's score among the scores of its own negatives.

    Example:
        >>> one_vs_many_ranks(np.array([0.5]), np.array([[0.9, 0.5, 0.1]]))
        array([2.5])
    """
    greater = np.count_nonzero(negatives > positive[:, None], axis=1)
    equal = np.count_nonzero(negatives == positive[:, None], axis=1)
    return tied_ranks(greater, equal + 1, ties)
