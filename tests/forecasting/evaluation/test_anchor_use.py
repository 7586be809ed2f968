"""Numbers by hand and closed forms."""

import math

import pytest
import torch

from forecasting.evaluation.anchor_use import (
    anchors_used,
    drawn_rows,
    squared_mmd,
    use_entropy,
)


def test_use_by_hand() -> None:
    counts = torch.tensor([4, 2, 0, 2])
    assert anchors_used(counts) == 3
    assert use_entropy(counts) == pytest.approx(0.5 * math.log(2) + 2 * 0.25 * math.log(4))
    assert use_entropy(torch.ones(1000, dtype=torch.int64)) == pytest.approx(math.log(1000))
    assert use_entropy(torch.tensor([0, 7])) == 0
    assert use_entropy(torch.zeros(3, dtype=torch.int64)) == 0


def test_mmd_by_hand() -> None:
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    # one pair, whose distance is the median: 1 + 1 - 2 exp(-1/2)
    assert squared_mmd(one, other) == pytest.approx(2 - 2 * math.exp(-0.5))
    assert squared_mmd(one, other, bandwidth=5.0) == pytest.approx(2 - 2 * math.exp(-0.5))
    assert squared_mmd(one, other, bandwidth=0.1) == pytest.approx(2)
    # two points against the one between them, s = 1: (1 + e^-2) / 2 + 1 - 2 e^-1/2
    pair, middle = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0]])
    wanted = (1 + math.exp(-2)) / 2 + 1 - 2 * math.exp(-0.5)
    assert squared_mmd(pair, middle, bandwidth=1.0) == pytest.approx(wanted)
    assert squared_mmd(pair, middle) == pytest.approx(wanted)  # distances 1, 1, 2


def test_mmd_of_equal_sets_and_scales() -> None:
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert squared_mmd(x, x[torch.randperm(20)]) == pytest.approx(0, abs=1e-12)
    assert squared_mmd(x[:1], x[:1].expand(4, 3)) == 0
    y = x + torch.tensor([0.5, 0.0, 0.0])
    assert squared_mmd(1000 * x, 1000 * y) == pytest.approx(squared_mmd(x, y), rel=1e-4)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_mmd_of_two_normal_clouds(shift: float) -> None:
    """2 c (1 - exp(-|m|^2 / (2 (s^2 + 2)))), c = (s^2 / (s^2 + 2))^(d/2), and own pairs' part."""
    generator, rows, dim, s = torch.Generator().manual_seed(0), 1000, 3, 1.5
    x, y = torch.randn(2, rows, dim, generator=generator)
    y[:, 0] += shift
    c = (s**2 / (s**2 + 2)) ** (dim / 2)
    wanted = 2 * c * (1 - math.exp(-(shift**2) / (2 * (s**2 + 2)))) + 2 * (1 - c) / rows
    assert squared_mmd(x, y, bandwidth=s) == pytest.approx(wanted, abs=0.01)


def test_samples_that_are_none() -> None:
    with pytest.raises(ValueError, match="both samples need a row, got 0 and 2"):
        squared_mmd(torch.empty(0, 3), torch.randn(2, 3))
    with pytest.raises(ValueError, match="bandwidth must be positive, got 0"):
        squared_mmd(torch.randn(2, 3), torch.randn(2, 3), bandwidth=0.0)


def test_rows_are_drawn_once_each() -> None:
    rows = torch.arange(10.0)[:, None]
    first, again = (drawn_rows(rows, 4, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and len(first.unique()) == 4
    assert len(drawn_rows(rows, 99, torch.Generator()).unique()) == 10
