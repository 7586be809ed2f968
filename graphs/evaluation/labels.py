"""Classes of edges and nodes step by step: predict those of step t, then reveal them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.track import track
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.classification import (
    ClassMetrics,
    LabelledStep,
    best_f1_threshold,
    class_metrics,
)

Target = Literal["edge_label", "node_label"]
LabelProtocol = Literal["fixed", "fixed_online"]


@runtime_checkable
class LabelPredictor(Protocol):
    """Goes along a sequence: `logits(step t)`, then `update(step t)`, from step 0 on."""

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "items classes"]:
        """Logits for all pairs (edge classes) or all nodes (node classes) of the snapshot.

        The snapshot is that of step t without its labels; all earlier steps came to `update`.
        """
        ...

    def update(self, snapshot: Snapshot) -> None:
        """Take in step t with its labels."""
        ...


@dataclass(frozen=True)
class ClassResult:
    """Metrics of one predictor on the labels of some steps."""

    protocol: LabelProtocol
    minority: int
    metrics: ClassMetrics
    n_skipped: int
    """Steps without a labelled item."""
    threshold: float | None
    """Log-odds of the minority class, chosen on validation; None without validation steps."""

    def flat(self, part: str, who: str) -> dict[str, float]:
        """`<part>/<protocol>/<who>/<metric>` for metrics.json."""
        stem = f"{part}/{self.protocol}/{who}"
        values = self.metrics.values | {"n_skipped": float(self.n_skipped)}
        return {f"{stem}/{name}": value for name, value in values.items()}


def evaluate_labels(
    predictors: Mapping[str, LabelPredictor],
    sequence: SnapshotSequence,
    test: range,
    *,
    target: Target,
    minority: int,
    val: range | None = None,
    protocol: LabelProtocol = "fixed",
    quiet: bool = False,
) -> dict[str, ClassResult]:
    """Class metrics of several predictors in one walk over the sequence.

    Args:
        predictors: Name -> predictor that has seen no step yet.
        sequence: Read up to step max(test).
        test: Steps whose labels are scored.
        target: Classes of pairs or of nodes.
        minority: Class whose F1, AUC and AP count.
        val: Earlier steps on which the second threshold is chosen; none = argmax alone.
        protocol: Name that the results carry; `fixed_online` where predictors go on learning.
        quiet: Show no progress.

    Raises:
        ValueError: Steps outside the sequence, no labelled item in `test`, or no item of the
            minority class in `val`.
    """
    steps = [*(val or ()), *test]
    collected = collect_logits(predictors, sequence, steps, target=target, quiet=quiet)
    results = {}
    for name, of_steps in collected.items():
        threshold = None
        if val:
            on_val = [one for one in of_steps if one.step in val]
            threshold = best_f1_threshold(on_val, minority=minority)
        on_test = [one for one in of_steps if one.step in test]
        metrics = class_metrics(on_test, minority=minority, threshold=threshold)
        n_skipped = len(test) - metrics.n_steps
        results[name] = ClassResult(protocol, minority, metrics, n_skipped, threshold)
    return results


def collect_logits(
    predictors: Mapping[str, LabelPredictor],
    sequence: SnapshotSequence,
    steps: Sequence[int],
    *,
    target: Target,
    quiet: bool = False,
) -> dict[str, list[LabelledStep]]:
    """Logits and labels of the labelled items of given steps, for every predictor."""
    if not steps or min(steps) < 0 or max(steps) >= len(sequence):
        raise ValueError(f"steps must lie in [0, {len(sequence)}), got {list(steps)}")
    wanted, last = set(steps), max(steps)
    collected: dict[str, list[LabelledStep]] = {name: [] for name in predictors}
    walk = track(enumerate(sequence[: last + 1]), last + 1, "classifying", quiet=quiet)
    for step, snapshot in walk:
        hidden = replace(snapshot, edge_label=None, node_label=None)
        for name, predictor in predictors.items():
            if step in wanted:
                with torch.no_grad():
                    logits = predictor.logits(hidden)
                known, labels = known_labels(snapshot, target)
                collected[name].append(
                    LabelledStep(step, logits[known].cpu().numpy(), labels.cpu().numpy())
                )
            predictor.update(snapshot)
    return collected


def known_labels(
    snapshot: Snapshot, target: Target
) -> tuple[Int[Tensor, " known"], Int[Tensor, " known"]]:
    """Numbers of the labelled items and their classes."""
    labels = getattr(snapshot, target)
    if labels is None:
        return (torch.empty(0, dtype=torch.int64),) * 2
    known = (labels >= 0).nonzero().flatten()
    return known, labels[known]


def minority_class(sequence: SnapshotSequence, steps: range, target: Target) -> int:
    """The rarest class of the labels in some (training) steps; of equals the smallest.

    Raises:
        ValueError: Fewer than two classes occur.
    """
    labels = torch.cat([known_labels(sequence[step], target)[1] for step in steps])
    counts = torch.bincount(labels)
    present = counts.nonzero().flatten()
    if len(present) < 2:
        raise ValueError(f"{target} of steps {steps.start}..{steps.stop - 1} has no two classes")
    return int(present[counts[present].argmin()])
