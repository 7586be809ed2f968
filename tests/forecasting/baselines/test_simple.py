"""Forecasts without training, by hand and on published files."""

from pathlib import Path

import pytest
import torch

from forecasting.baselines.simple import Drift, LastValue, SeasonalNaive
from forecasting.data_config import DataConfig
from forecasting.evaluation.errors import ForecastErrors
from forecasting.fit import score
from forecasting.series_data import read_series

X = torch.tensor([[[1.0, 0.0], [2.0, 10.0], [3.0, 0.0], [5.0, 20.0]]])


def test_last_value() -> None:
    assert LastValue(2)(X).tolist() == [[[5.0, 20.0], [5.0, 20.0]]]


def test_drift_goes_on_along_the_line_through_both_ends() -> None:
    torch.testing.assert_close(
        Drift(2)(X), torch.tensor([[[5 + 4 / 3, 20 + 20 / 3], [5 + 8 / 3, 20 + 40 / 3]]])
    )
    assert Drift(1)(X[:, :1]).tolist() == [[[1.0, 0.0]]]


def test_seasons() -> None:
    assert SeasonalNaive(3, 2)(X)[0, :, 0].tolist() == [3.0, 5.0, 3.0]
    assert SeasonalNaive(3, 2, num_seasons=2)(X)[0, :, 0].tolist() == [2.0, 3.5, 2.0]
    with pytest.raises(ValueError, match="need a context of 6, got 4"):
        SeasonalNaive(1, 3, num_seasons=2)(X)
    with pytest.raises(ValueError, match="at least 1"):
        SeasonalNaive(1, 0)


@pytest.mark.parametrize(
    ("horizon", "all_windows", "dropped"),
    [(336, (0.3057, 0.3978), (0.3054, 0.3963)), (720, (0.8101, 0.6764), (0.8226, 0.6811))],
)
def test_dropping_the_last_batch_gives_the_numbers_of_the_literature(
    test_data: Path,
    horizon: int,
    all_windows: tuple[float, float],
    dropped: tuple[float, float],
) -> None:
    path = test_data / "timeseries" / "exchange_rate.txt.gz"
    windows = read_series(DataConfig(path=str(path)), 96).windows("test", 96, horizon)
    model = LastValue(horizon)
    whole = score(model, windows)
    assert (round(whole.mse, 4), round(whole.mae, 4)) == all_windows
    short = ForecastErrors.zeros(horizon, 8)
    for x, y in windows.batches(32):
        if len(x) == 32:
            short.update(y, model(x))
    assert short.windows == len(windows) // 32 * 32
    assert (round(short.mse, 4), round(short.mae, 4)) == dropped
