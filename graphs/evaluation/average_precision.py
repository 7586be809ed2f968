"""Average precision (higher is better): area under precision over recall, without interpolation.

    AP = sum_n (R_n - R_{n-1}) P_n     over distinct thresholds

Equal to the mean over positives i of #{positives with s >= s_i} / #{items with s >= s_i}: a tied
group shares its lowest precision. Without a positive, AP does not exist and the call is refused.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


def average_precision(
    score: Float[ndarray, " items"],
    positive: Bool[ndarray, " items"],
    weight: Float[ndarray, " items"] | None = None,
) -> float:
    """AP of scored items.

    Args:
        score: Higher = likelier positive.
        positive: Which items are positive.
        weight: Items an item stands for; none = 1.

    Raises:
        ValueError: No item is positive, or a score is NaN.

    Example:
        >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
        0.8333333333333333
    """
    refuse_nan(score)
    if not positive.any():
        raise ValueError("average precision needs a positive item: leave out steps without one")
    order = np.argsort(score, kind="stable")[::-1]
    score, positive = score[order], positive[order]
    weight = np.ones(len(score)) if weight is None else weight[order].astype(np.float64)
    last = np.append(score[1:] != score[:-1], True)
    reached = np.cumsum(weight)[last]
    positives = np.cumsum(weight * positive)[last]
    gained = np.diff(positives, prepend=0.0)
    return float((gained * positives / reached).sum() / positives[-1])


def average_precision_of_counts(
    positive_score: Float[ndarray, " positives"],
    thresholds: Float[ndarray, " thresholds"],
    at_least: Int[ndarray, " thresholds"],
) -> float:
    """AP from the positives' scores and the number of all items that reach each of them.

    Args:
        positive_score: At least one.
        thresholds: The distinct values of `positive_score`, ascending.
        at_least: Items, positives among them, with a score >= each threshold.
    """
    ordered = np.sort(positive_score)
    first = np.searchsorted(ordered, thresholds, side="left")
    positives = len(ordered) - first
    tied = np.diff(np.append(first, len(ordered)))
    return float((tied * positives / at_least).sum() / len(ordered))


def refuse_nan(score: Float[ndarray, "..."]) -> None:
    """Raise a ValueError if a score is NaN, since NaN has no rank."""
    # The minimum is NaN if any element is, and costs a tenth of isnan.
    if score.size and np.isnan(score.min()):
        raise ValueError("a score is NaN, which has no rank: look at the model's outputs")
