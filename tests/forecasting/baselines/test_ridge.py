"""Ridge in closed form against stacked windows, augmented least squares and known errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.baselines.ridge import (
    Ridge,
    ridge_trials,
    window_gram,
    window_gram_naive,
    window_gram_of_tables,
)
from forecasting.data_config import DataConfig
from forecasting.fit import score
from forecasting.series_data import read_series


def _walk(rows: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, channels)).cumsum(0)


@pytest.mark.parametrize(("rows", "steps"), [(40, 40), (41, 40), (300, 40), (50, 1), (9, 8)])
def test_gram_equals_that_of_stacked_windows(rows: int, steps: int) -> None:
    values = _walk(rows, 3)
    np.testing.assert_allclose(
        window_gram(values, steps), window_gram_naive(values, steps), rtol=1e-9, atol=1e-8
    )


def test_gram_of_tables_is_the_sum_of_grams() -> None:
    tables = [_walk(rows, channels) for rows, channels in ((30, 1), (9, 2), (80, 1))]
    wanted = sum(window_gram_naive(values, 9) for values in tables)
    np.testing.assert_allclose(window_gram_of_tables(tables, 9), wanted, rtol=1e-9, atol=1e-8)
    with pytest.raises(ValueError, match="windows of 9 steps need as many rows, got 8"):
        window_gram_of_tables([*tables, _walk(8, 1)], 9)


@pytest.mark.parametrize("centre", ["mean", "last"])
def test_equals_augmented_least_squares(centre: str) -> None:
    """|X W - Y|^2 + p |W|^2 is the least-squares problem with sqrt(p) I below X."""
    context, horizon, penalty = 12, 5, 1e-2
    values = _walk(200, 2)
    model = Ridge(context, horizon, centre=centre).fit(values, penalty=penalty)
    view = np.lib.stride_tricks.sliding_window_view(values, context + horizon, axis=0)
    whole = view.reshape(-1, context + horizon)
    centres = whole[:, :context].mean(1) if centre == "mean" else whole[:, context - 1]
    x, y = whole[:, :context] - centres[:, None], whole[:, context:] - centres[:, None]
    lifted = penalty * np.trace(x.T @ x) / context
    stacked = np.concatenate([x, np.sqrt(lifted) * np.eye(context)])
    wanted = np.linalg.lstsq(stacked, np.concatenate([y, np.zeros((context, horizon))]), rcond=None)
    np.testing.assert_allclose(model.weight.numpy(), wanted[0].T, rtol=1e-4, atol=1e-6)


def test_forecast_is_the_map_of_centred_windows() -> None:
    model = Ridge(3, 2, centre="last")
    model.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 5.0]]))
    x = torch.tensor([[[1.0], [2.0], [4.0]]])
    # centred: -3, -2, 0
    assert model(x).flatten().tolist() == [1.0, 0.0]


def test_trials_share_the_gram_and_differ_by_penalty() -> None:
    values = _walk(150, 2)
    found = ridge_trials(values, [8, 12], [0.0, 1e-1], 4, "mean")
    assert [(context, penalty) for context, penalty, _ in found] == [
        (8, 0.0), (8, 0.1), (12, 0.0), (12, 0.1)
    ]  # fmt: skip
    alone = Ridge(12, 4).fit(values, penalty=0.1)
    torch.testing.assert_close(found[3][2].weight, alone.weight)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="need as many rows, got 5"):
        Ridge(4, 2).fit(_walk(5, 1))
    with pytest.raises(ValueError, match="penalty must not be negative"):
        Ridge(4, 2).fit(_walk(50, 1), penalty=-1.0)


@pytest.mark.parametrize(
    ("horizon", "wanted"),
    [(96, (0.3672, 0.3913)), (192, (0.4007, 0.4113)), (336, (0.4252, 0.4264)),
     (720, (0.4233, 0.4447))],
)  # fmt: skip
def test_known_errors_on_etth1(test_data: Path, horizon: int, wanted: tuple[float, float]) -> None:
    data = read_series(DataConfig(path=str(test_data / "timeseries" / "ETTh1.csv")), 512)
    model = Ridge(512, horizon).fit(data.scaled[: data.split.train.stop])
    errors = score(model, data.windows("test", 512, horizon))
    assert (round(errors.mse, 4), round(errors.mae, 4)) == wanted
