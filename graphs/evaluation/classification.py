"""Metrics of classes, counted over all steps together (higher is better).

    micro-F1 over classes with one label an item = accuracy
    minority F1 = 2 TP / (2 TP + FP + FN) of the minority class; 0 where it is never predicted
    AUC = P(score of a minority item > score of another), a tie counts half
    minority AP = average precision of the minority class

Accuracy alone ranks nothing where nine of ten items are of one class. AUC and AP need both classes:
where only one occurs they are None, never NaN. Without any item there is no result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import logsumexp
from scipy.stats import rankdata

from graphs.evaluation.average_precision import average_precision, refuse_nan


@dataclass(frozen=True)
class LabelledStep:
    """Labelled items of one step and what was predicted for them."""

    step: int
    logits: Float[ndarray, "items classes"]
    labels: Int[ndarray, " items"]
    """Known ones alone."""


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics over steps."""

    num_items: int
    num_minority: int
    n_steps: int
    """Steps with a labelled item."""
    n_steps_both: int
    """Steps with items of the minority class and of others, over which the step means go."""
    micro_f1: float
    minority_f1: float
    micro_f1_val_threshold: float | None
    """With the threshold from validation in place of the argmax; None without a threshold."""
    minority_f1_val_threshold: float | None
    auc: float | None
    minority_ap: float | None
    auc_step_mean: float | None
    minority_ap_step_mean: float | None

    @property
    def values(self) -> dict[str, float]:
        """Name -> value of all that exist."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


def class_metrics(
    steps: Sequence[LabelledStep], *, minority: int, threshold: float | None = None
) -> ClassMetrics:
    """All metrics of one predictor.

    Args:
        steps: At least one item in all.
        minority: The class whose F1, AUC and AP count.
        threshold: Log-odds from which an item is called minority; none = argmax alone.

    Raises:
        ValueError: There is no item, a logit is NaN, or a label or `minority` has no logit.
    """
    logits, labels = pool(steps)
    if not 0 <= minority < logits.shape[1] or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels {labels.min()} to {labels.max()} and minority {minority} must lie in "
            f"[0, {logits.shape[1]}), the classes of the logits"
        )
    margin, is_minority = minority_log_odds(logits, minority), labels == minority
    both, step_aucs, step_aps = 0, [], []
    for one in steps:
        of_step = one.labels == minority
        if of_step.any() and not of_step.all():
            own = minority_log_odds(one.logits, minority)
            both += 1
            step_aucs.append(area_under_roc(own, of_step))
            step_aps.append(average_precision(own, of_step))
    predicted = logits.argmax(axis=1)
    chosen = None if threshold is None else _threshold_classes(logits, margin, minority, threshold)
    pooled = is_minority.any() and not is_minority.all()
    return ClassMetrics(
        num_items=len(labels),
        num_minority=int(is_minority.sum()),
        n_steps=sum(len(one.labels) > 0 for one in steps),
        n_steps_both=both,
        micro_f1=float(np.mean(predicted == labels)),
        minority_f1=f1(predicted == minority, is_minority),
        micro_f1_val_threshold=None if chosen is None else float(np.mean(chosen == labels)),
        minority_f1_val_threshold=None if chosen is None else f1(chosen == minority, is_minority),
        auc=area_under_roc(margin, is_minority) if pooled else None,
        minority_ap=average_precision(margin, is_minority) if pooled else None,
        auc_step_mean=float(np.mean(step_aucs)) if both else None,
        minority_ap_step_mean=float(np.mean(step_aps)) if both else None,
    )


def best_f1_threshold(steps: Sequence[LabelledStep], *, minority: int) -> float:
    """Log-odds threshold with the highest minority F1 on these steps; of equals the highest.

    Raises:
        ValueError: There is no item of the minority class.
    """
    logits, labels = pool(steps)
    is_minority = labels == minority
    if not is_minority.any():
        raise ValueError(f"no item of class {minority} to choose a threshold by")
    margin = minority_log_odds(logits, minority)
    order = np.argsort(margin, kind="stable")[::-1]
    margin, is_minority = margin[order], is_minority[order]
    last = np.append(margin[1:] != margin[:-1], True)
    found, called = np.cumsum(is_minority), np.arange(1, len(margin) + 1)
    scores = (2 * found / (called + is_minority.sum()))[last]
    return float(margin[last][np.argmax(scores)])


def f1(predicted: Bool[ndarray, " items"], true: Bool[ndarray, " items"]) -> float:
    """2 TP / (2 TP + FP + FN); 0 where the class is neither there nor predicted."""
    both = int(predicted.sum()) + int(true.sum())
    return 2 * int((predicted & true).sum()) / both if both else 0.0


def area_under_roc(score: Float[ndarray, " items"], positive: Bool[ndarray, " items"]) -> float:
    """AUC from mean ranks (Mann-Whitney).

    Raises:
        ValueError: Only one class occurs.
    """
    num = int(positive.sum())
    if not 0 < num < len(positive):
        raise ValueError("AUC needs items of both classes")
    above = rankdata(score)[positive].sum() - num * (num + 1) / 2
    return float(above / (num * (len(positive) - num)))


def minority_log_odds(
    logits: Float[ndarray, "items classes"], minority: int
) -> Float[ndarray, " items"]:
    """log p(minority) - log p(any other class), float64."""
    logits = logits.astype(np.float64)
    others = np.delete(logits, minority, axis=1)
    return np.asarray(logits[:, minority] - logsumexp(others, axis=1))


def pool(
    steps: Sequence[LabelledStep],
) -> tuple[Float[ndarray, "items classes"], Int[ndarray, " items"]]:
    """Logits and labels of all steps together.

    Raises:
        ValueError: There is no item or a logit is NaN.
    """
    if not sum(len(one.labels) for one in steps):
        raise ValueError("no labelled item in the steps: check the split and the labels")
    logits = np.concatenate([one.logits for one in steps])
    refuse_nan(logits)
    return logits, np.concatenate([one.labels for one in steps])


def _threshold_classes(
    logits: Float[ndarray, "items classes"],
    margin: Float[ndarray, " items"],
    minority: int,
    threshold: float,
) -> Int[ndarray, " items"]:
    others = logits.astype(np.float64)
    others[:, minority] = -np.inf
    return np.where(margin >= threshold, minority, others.argmax(axis=1))
