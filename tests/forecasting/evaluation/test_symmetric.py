"""sMAPE of tensors: by hand, as the competition's, and its gradient where both are 0."""

import numpy as np
import pytest
import torch

from forecasting.evaluation.errors import ForecastErrors
from forecasting.evaluation.m4_metrics import smape
from forecasting.evaluation.symmetric import smape_loss


def _column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def test_by_hand() -> None:
    y, f = _column(1, 0, 3), _column(3, 0, 1)
    assert smape_loss(f, y).item() == pytest.approx(200 / 3 * (2 / 4 + 0 + 2 / 4))
    # what nobody knows is not in the mean
    assert smape_loss(f, _column(1, np.nan, 3)).item() == pytest.approx(200 / 2 * (2 / 4 + 2 / 4))
    with pytest.raises(ValueError, match="no target"):
        smape_loss(f, _column(np.nan, np.nan, np.nan))


def test_as_the_competition_scores_it() -> None:
    y, f = np.random.default_rng(0).normal(size=(2, 5, 7))
    by_series = np.mean([smape(a, b) for a, b in zip(y, f, strict=True)])
    tensors = [torch.from_numpy(values)[..., None] for values in (f, y)]
    assert smape_loss(*tensors).item() == pytest.approx(by_series)
    errors = ForecastErrors.zeros(7, 1)
    errors.update(tensors[1][:2], tensors[0][:2])
    errors.update(tensors[1][2:], tensors[0][2:])
    assert errors.smape == pytest.approx(by_series)


def test_gradient() -> None:
    """Also at y = f = 0, y = 0 and an unknown target."""
    y = _column(1, -2, 0, 0, np.nan)
    f = _column(3, 1, 0, 0.5, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda forecast: smape_loss(forecast, y), f)
    smape_loss(f, y).backward()
    assert f.grad is not None and f.grad[0, 2:, 0].tolist() == [0, 0, 0]
    assert f.grad[0, :2, 0].abs().min() > 0
