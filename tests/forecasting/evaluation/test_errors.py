"""Means over all windows, whatever the batches; shards add up; nothing is scored as nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluation.errors import ForecastErrors


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9))
def test_batches_do_not_matter(windows: int, size: int) -> None:
    y, f = torch.randn(2, windows, 4, 3)
    errors = ForecastErrors.zeros(4, 3)
    for part in range(0, windows, size):
        errors.update(y[part : part + size], f[part : part + size])
    assert errors.windows == windows
    assert errors.mse == pytest.approx(float((y - f).double().square().mean()))
    assert errors.mae == pytest.approx(float((y - f).double().abs().mean()))


def test_unequal_shards_are_weighted() -> None:
    y, f = torch.randn(2, 11, 4, 3)
    shards = []
    for part in (slice(0, 3), slice(3, 11)):
        shards.append(ForecastErrors.zeros(4, 3))
        shards[-1].update(y[part], f[part])
    whole = ForecastErrors.zeros(4, 3)
    whole.update(y, f)
    assert shards[0].merge(shards[1]).mse == pytest.approx(whole.mse)
    assert (shards[0].mse + shards[1].mse) / 2 != pytest.approx(whole.mse)


def test_no_window_and_no_number() -> None:
    errors = ForecastErrors.zeros(2, 1)
    with pytest.raises(ValueError, match="no window was scored"):
        _ = errors.mse
    forecast = torch.zeros(3, 2, 1)
    forecast[1, 1, 0] = torch.nan
    with pytest.raises(ValueError, match="window 1, step 1, channel 0 is not finite"):
        errors.update(torch.zeros(3, 2, 1), forecast)
