"""Link and class metrics by their definitions, in plain loops: what the fast ones must equal."""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from graphs.evaluation.ranks import Ties


def naive_average_precision(
    score: Float[ndarray, "..."],
    positive: Bool[ndarray, "..."],
    weight: Float[ndarray, "..."] | None = None,
) -> float:
    """Sum over distinct thresholds of (R_n - R_{n-1}) P_n."""
    score, positive = score.reshape(-1), positive.reshape(-1)
    weight = np.ones(len(score)) if weight is None else weight.reshape(-1)
    area = recall_before = 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        reached = score >= threshold
        found = float(weight[reached & positive].sum())
        recall = found / float(weight[positive].sum())
        area += (recall - recall_before) * found / float(weight[reached].sum())
        recall_before = recall
    return area


def naive_rank(own: float, rivals: Float[ndarray, " rivals"], ties: Ties) -> float:
    """Rank of a score among its rivals, itself not among them."""
    greater, equal = sum(rivals > own), sum(rivals == own)
    best, worst = 1 + float(greater), 1 + float(greater + equal)
    return {"optimistic": best, "pessimistic": worst, "mean": (best + worst) / 2}[ties]


def naive_mrr(
    score: Float[ndarray, "nodes nodes"],
    positive: Bool[ndarray, "nodes nodes"],
    *,
    ties: Ties = "mean",
    filtered: bool = False,
) -> float:
    """Mean over sources with a positive of the mean over its positives of 1 / rank."""
    of_sources = []
    for source in range(len(score)):
        of_positives = []
        for target in np.flatnonzero(positive[source]):
            rival = np.arange(len(score)) != target
            if filtered:
                rival &= ~positive[source]
            rank = naive_rank(float(score[source, target]), score[source, rival], ties)
            of_positives.append(1 / rank)
        if of_positives:
            of_sources.append(float(np.mean(of_positives)))
    return float(np.mean(of_sources))


def naive_auc(score: Float[ndarray, " items"], positive: Bool[ndarray, " items"]) -> float:
    """Share of (positive, negative) couples in the right order; a tie counts half."""
    right = 0.0
    for own in score[positive]:
        right += sum(own > score[~positive]) + 0.5 * sum(own == score[~positive])
    return float(right / (positive.sum() * (~positive).sum()))
