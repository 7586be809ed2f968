"""Numbers of nodes step by step: forecast those of step t, then reveal them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.track import track
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.labels import LabelProtocol
from graphs.evaluation.regression import StepError, mean_error, step_error


@runtime_checkable
class ValuePredictor(Protocol):
    """Goes along a sequence: `values(step t)`, then `update(step t)`, from step 0 on."""

    def values(self, snapshot: Snapshot) -> Float[Tensor, " nodes"]:
        """Forecasts of the values of step t, given its graph and features but not its values."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """Take in step t with its values."""
        ...


@dataclass(frozen=True)
class ValueResult:
    """Errors of one predictor."""

    protocol: LabelProtocol
    steps: tuple[int, ...]
    errors: tuple[StepError, ...]
    """One for each of `steps`."""

    @property
    def n_skipped(self) -> int:
        """Steps without a known value."""
        return sum(error.mse is None for error in self.errors)

    @property
    def mse(self) -> float:
        """Mean over the other steps; lower is better."""
        return mean_error(self.errors)

    def flat(self, part: str, who: str) -> dict[str, float]:
        """`<part>/<protocol>/<who>/<metric>` for metrics.json."""
        stem = f"{part}/{self.protocol}/{who}"
        values = {
            "mse": self.mse,
            "n_steps": float(len(self.steps) - self.n_skipped),
            "n_skipped": float(self.n_skipped),
            "n_unknown": float(sum(error.n_unknown for error in self.errors)),
        }
        return {f"{stem}/{name}": value for name, value in values.items()}


def evaluate_values(
    predictors: Mapping[str, ValuePredictor],
    sequence: SnapshotSequence,
    test: range,
    *,
    protocol: LabelProtocol = "fixed",
    quiet: bool = False,
) -> dict[str, ValueResult]:
    """MSE of several predictors in one walk over the sequence.

    Args:
        predictors: Name -> predictor that has seen no step yet.
        sequence: Read up to step max(test).
        test: Steps whose values are scored.
        protocol: Name that the results carry.
        quiet: Show no progress.

    Raises:
        ValueError: Steps outside the sequence, none with a known value, or a forecast of a known
            value that is not finite.
    """
    if not test or min(test) < 0 or max(test) >= len(sequence):
        raise ValueError(f"test must lie in [0, {len(sequence)}), got {test}")
    errors: dict[str, list[StepError]] = {name: [] for name in predictors}
    last = max(test)
    walk = track(enumerate(sequence[: last + 1]), last + 1, "forecasting values", quiet=quiet)
    for step, snapshot in walk:
        hidden = replace(snapshot, value=None)
        for name, predictor in predictors.items():
            if step in test:
                if snapshot.value is None:
                    error = StepError(None, snapshot.num_nodes)
                else:
                    with torch.no_grad():
                        predicted = predictor.values(hidden).cpu().numpy()
                    error = step_error(predicted, snapshot.value.cpu().numpy())
                errors[name].append(error)
            predictor.update(snapshot)
    results = {
        name: ValueResult(protocol, tuple(test), tuple(of_steps))
        for name, of_steps in errors.items()
    }
    for result in results.values():
        mean_error(result.errors)
    return results
