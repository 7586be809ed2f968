"""The competition's measures by hand, and its own benchmark values on the hourly series."""

from pathlib import Path

import numpy as np
import pytest

from forecasting.data.m4 import read_m4
from forecasting.evaluation.m4_metrics import (
    is_seasonal,
    m4_scores,
    mase,
    naive2,
    seasonal_indices,
    smape,
)


def test_by_hand() -> None:
    y, f = np.array([1.0, 0.0, 3.0]), np.array([3.0, 0.0, 1.0])
    assert smape(y, f) == pytest.approx(200 / 3 * (2 / 4 + 0 + 2 / 4))
    train = np.array([1.0, 2.0, 4.0, 3.0])
    assert mase(y, f, train, 1) == pytest.approx((4 / 3) / ((1 + 2 + 1) / 3))
    assert mase(y, f, train, 2) == pytest.approx((4 / 3) / ((3 + 1) / 2))


def test_naive2_of_a_seasonal_series_is_exact() -> None:
    """Level times index: the adjusted last value carries the pattern on."""
    index = np.array([0.5, 1.0, 1.5, 1.0])
    train = 10 * np.tile(index, 6)
    assert is_seasonal(train, 4)
    np.testing.assert_allclose(seasonal_indices(train, 4), index)
    np.testing.assert_allclose(naive2(train, 6, 4), 10 * np.tile(index, 2)[:6])


def test_naive2_without_a_season_is_the_last_value() -> None:
    train = np.arange(1.0, 9.0)
    assert not is_seasonal(train, 4)  # fewer than three seasons
    assert naive2(train, 2, 4).tolist() == [8.0, 8.0]
    assert not is_seasonal(np.ones(40), 4)


def test_no_scale_and_no_series() -> None:
    with pytest.raises(ValueError, match="no scale"):
        mase(np.ones(2), np.ones(2), np.tile([1.0, 2.0], 4), 2)
    with pytest.raises(ValueError, match="more than 4"):
        mase(np.ones(2), np.ones(2), np.ones(4), 4)
    with pytest.raises(ValueError, match="no series"):
        m4_scores([], [], [], 1)


def test_hourly_benchmarks(test_data: Path) -> None:
    series = read_m4(test_data / "timeseries" / "M4-Hourly-train.csv")
    assert len(series.ids) == 414 and {len(row) for row in series.train} == {700, 960}
    rows, m = series.train, series.season
    assert sum(is_seasonal(row, m) for row in rows) == 413

    def scores(forecasts: list[np.ndarray]) -> tuple[float, float]:
        found = m4_scores(series.test, forecasts, rows, m)
        return round(found.smape, 3), round(found.mase, 3)

    assert scores([np.full(48, row[-1]) for row in rows]) == (43.003, 11.608)
    assert scores([np.tile(row[-m:], 2) for row in rows]) == (13.912, 1.193)
    assert scores([naive2(row, 48, m) for row in rows]) == (18.383, 2.395)
