from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy_links import toy_sequence

from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.values import evaluate_values


def with_values(*values: list[float] | None) -> SnapshotSequence:
    sequence = toy_sequence(2, (1,) * len(values))
    changed = tuple(
        replace(snapshot, value=None if value is None else torch.tensor(value))
        for snapshot, value in zip(sequence, values, strict=True)
    )
    return replace(sequence, snapshots=changed)


class Constant:
    """Forecasts the number of updates so far and refuses to see a value too early."""

    def __init__(self) -> None:
        self.updates = 0

    def update(self, snapshot: Snapshot) -> None:
        self.updates += 1

    def values(self, snapshot: Snapshot) -> Tensor:
        assert snapshot.value is None
        return torch.full((snapshot.num_nodes,), float(self.updates))


def test_means_over_nodes_then_steps() -> None:
    """Forecasts 1, 2, 3, 4; errors (1, 9), unknown step, (1, -), no values."""
    nan = float("nan")
    sequence = with_values([9.0, 9.0], [0.0, 4.0], [nan, nan], [4.0, nan], None)
    result = evaluate_values({"a": Constant()}, sequence, range(1, 5), quiet=True)["a"]
    assert [error.mse for error in result.errors] == [5.0, None, 1.0, None]
    assert result.flat("test", "a") == {
        "test/fixed/a/mse": 3.0,
        "test/fixed/a/n_steps": 2.0,
        "test/fixed/a/n_skipped": 2.0,
        "test/fixed/a/n_unknown": 5.0,
    }


def test_nothing_to_score_is_refused() -> None:
    sequence = with_values([1.0, 1.0], None)
    with pytest.raises(ValueError, match="none of 1 steps has a known value"):
        evaluate_values({"a": Constant()}, sequence, range(1, 2), quiet=True)
    for steps in (range(0, 0), range(1, 3)):
        with pytest.raises(ValueError, match=r"test must lie in \[0, 2\)"):
            evaluate_values({"a": Constant()}, sequence, steps, quiet=True)
