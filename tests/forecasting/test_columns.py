"""Declared columns: used by the models that can, refused by the others, whole or not at all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from panel_frames import next_rows, waves, with_columns

from forecasting.baselines.ridge import Ridge
from forecasting.build import build_forecaster
from forecasting.config import FitConfig, FitsConfig, NetworksConfig
from forecasting.data.covariates import Covariates, CovariateSizes
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig
from foretell.errors import UserError

FAST = FitConfig(lr=5e-3, batch=32, max_epochs=1, windows_per_epoch=64)
CONFIG = ForecasterConfig(
    models=["last", "ridge"], horizon=6, context=24, freq="h",
    static_cols=["size"], past_cols=["visits"], future_cols=["holiday"],
    fits=FitsConfig(patchtst=FAST, mixers=FAST),
)  # fmt: skip
AHEAD = replace(CONFIG, static_cols=[], past_cols=[])
USERS = ("ridge", "patchtst", "lstm", "lssl", "mamba2", "aaren", "titans")


def _frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = with_columns(waves())
    return frame, next_rows(frame, 6)


def test_a_known_effect_is_found() -> None:
    frame, future = _frames()
    kept = frame[["unique_id", "ds", "y", "holiday"]]
    found = Forecaster(AHEAD).fit(kept).predict(future_df=future)
    for series, own in found.groupby("unique_id"):
        lift = 0.5 * waves().groupby("unique_id").y.mean()[series]
        t = (frame.unique_id == series).sum() + np.arange(6)
        wave = 10.0 ** int(str(series)[1]) * (3 + np.sin(2 * np.pi * t / 12))
        np.testing.assert_allclose(own.ridge, wave + lift * (np.arange(6) % 3 == 0), rtol=0.12)


def test_ridge_equals_least_squares_on_the_stacked_design() -> None:
    torch.manual_seed(0)
    sizes = CovariateSizes(past=2, future=3, static=1)
    model, penalty = Ridge(5, 3, covariates=sizes), 1e-2
    x, y = torch.randn(40, 5, 1).double(), torch.randn(40, 3, 1).double()
    columns = Covariates(
        torch.randn(40, 5, 2).double(), torch.randn(40, 3, 1).double(), torch.randn(40, 1).double()
    )
    halves = [
        ((x[part], Covariates(*(one[part] for one in columns))), y[part])
        for part in (slice(15), slice(15, 40))
    ]
    model.fit_windows(halves, penalty=penalty)
    mean = x.mean(1, keepdim=True)
    design = np.concatenate(
        [(x - mean)[..., 0], columns.past.flatten(1), columns.future.flatten(1), columns.static], 1
    )
    lifted = np.sqrt(penalty * (design**2).sum(0).mean()) * np.eye(design.shape[1])
    wanted, *_ = np.linalg.lstsq(
        np.concatenate([design, lifted]),
        np.concatenate([(y - mean)[..., 0].numpy(), np.zeros((design.shape[1], 3))]),
        rcond=None,
    )
    np.testing.assert_allclose(model.weight.numpy(), wanted.T, atol=1e-6)


@pytest.mark.parametrize("name", USERS)
def test_every_kind_of_column_reaches_the_forecast(name: Any) -> None:
    torch.manual_seed(0)
    sizes = CovariateSizes(past=2, future=6, static=1)
    model = build_forecaster(
        name, NetworksConfig(), context=24, horizon=6, season=1, covariates=sizes
    ).eval()
    if isinstance(model, Ridge):
        model.weight.normal_()
    x, columns = (
        torch.randn(3, 24, 1),
        Covariates(torch.randn(3, 24, 2), torch.randn(3, 6, 1), torch.randn(3, 1)),
    )
    for place in range(3):
        moved = list(columns)
        moved[place] = moved[place] + 1
        change = (model(x, Covariates(*moved)) - model(x, columns)).abs()
        assert bool((change.amax(1) > 1e-6).all())


@pytest.mark.parametrize("name", ["patchtst", "lstm"])
def test_networks_train_on_them_and_come_back_from_files(name: Any, tmp_path: Path) -> None:
    frame, future = _frames()
    fitted = Forecaster(replace(CONFIG, models=[name])).fit(frame, val_size=40)
    fitted.save(tmp_path)
    loaded = Forecaster.load(tmp_path)
    one, two = (each.predict(future_df=future, level=[80]) for each in (fitted, loaded))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    other = fitted.predict(future_df=future.assign(holiday=1 - future.holiday))
    assert (other[name] != one[name]).all()


def test_models_without_use_for_them_refuse_by_name() -> None:
    frame, _ = _frames()
    for name in ("nlinear", "dlinear", "s2ip"):
        with pytest.raises(UserError, match=f"{name} cannot use static_cols, past_cols or"):
            Forecaster(replace(CONFIG, models=[name])).fit(frame, val_size=40)


def test_columns_nobody_declared_are_refused() -> None:
    frame, _ = _frames()
    with pytest.raises(UserError, match="nobody declared column visits"):
        Forecaster(AHEAD).fit(frame)
    with pytest.raises(UserError, match="no column holiday"):
        Forecaster(CONFIG).fit(frame.drop(columns="holiday"))


def test_backtests_see_known_columns_and_no_later_past() -> None:
    frame, _ = _frames()
    wrecked = frame.copy()
    late = wrecked.groupby("unique_id").cumcount(ascending=False) < 6
    wrecked.loc[late, ["y", "visits"]] = 1e6
    clean, dirty = (Forecaster(CONFIG).cross_validation(one, level=[]) for one in (frame, wrecked))
    pd.testing.assert_series_equal(clean.ridge, dirty.ridge)
    moved = frame.copy()
    moved.loc[late, "holiday"] = 1 - moved.loc[late, "holiday"]
    assert (Forecaster(CONFIG).cross_validation(moved).ridge != clean.ridge).all()


def test_the_future_must_be_whole() -> None:
    frame, future = _frames()
    fitted = Forecaster(CONFIG).fit(frame)
    with pytest.raises(UserError, match=r"known ahead \(holiday\): give their next 6 rows"):
        fitted.predict()
    with pytest.raises(UserError, match=r"no row of series s1 at 2024-01-07 10:00:00 \(1 such"):
        fitted.predict(future_df=future.drop(index=9))
    with pytest.raises(UserError, match="s0 has two rows at"):
        fitted.predict(future_df=pd.concat([future, future[:1]]))
    with pytest.raises(UserError, match="no finite holiday"):
        fitted.predict(future_df=future.assign(holiday=np.nan))
    with pytest.raises(UserError, match="column visits, which is not in future_cols"):
        fitted.predict(future_df=future.assign(visits=0.0))
    with pytest.raises(UserError, match="no column is declared in future_cols"):
        plain = replace(CONFIG, static_cols=[], past_cols=[], future_cols=[])
        Forecaster(plain).fit(waves()).predict(future_df=future)
    with pytest.raises(UserError, match="it needs 6 steps behind each, whole horizons"):
        fitted.predict(horizon=4, future_df=next_rows(frame, 4))
    same = fitted.predict(future_df=future).groupby("unique_id").head(4).reset_index(drop=True)
    pd.testing.assert_frame_equal(fitted.predict(horizon=4, future_df=future), same)
    shuffled = future.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        fitted.predict(future_df=future), fitted.predict(future_df=shuffled)
    )


def test_beyond_the_horizon() -> None:
    frame, _ = _frames()
    with pytest.raises(UserError, match=r"past_cols \(visits\) are unknown beyond"):
        Forecaster(CONFIG).fit(frame).predict(horizon=12, future_df=next_rows(frame, 12))
    kept = frame[["unique_id", "ds", "y", "holiday"]]
    fitted, future = Forecaster(AHEAD).fit(kept), next_rows(kept, 12)
    found = fitted.predict(horizon=10, future_df=future)
    assert found.recursive.tolist() == ([False] * 6 + [True] * 4) * 3
    # by hand: the first forecast as if it had been seen, then the second
    first = fitted.predict(future_df=future)
    seen = first.merge(future, on=["unique_id", "ds"]).rename(columns={"ridge": "y"})
    later = pd.concat([kept, seen[["unique_id", "ds", "y", "holiday"]]])
    second = fitted.predict(later, future_df=future)
    wanted = pd.concat([first, second.groupby("unique_id").head(4)])
    wanted = wanted.sort_values(["unique_id", "ds"], ignore_index=True)
    np.testing.assert_allclose(found.ridge, wanted.ridge, rtol=1e-5)
