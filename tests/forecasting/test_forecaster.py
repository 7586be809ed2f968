"""The data-frame interface: shapes, units, backtests, intervals, files, nothing from the future."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from panel_frames import waves
from tiny_models import saved

from forecasting.config import FitConfig, FitsConfig, NetworksConfig
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig
from forecasting.model_config import RidgeConfig
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from foretell.errors import UserError

FAST = FitConfig(lr=5e-3, batch=32, max_epochs=2, windows_per_epoch=64)
CONFIG = ForecasterConfig(
    models=["seasonal_naive", "ridge"], horizon=6, context=24, freq="h", season=12,
    fits=FitsConfig(dlinear=FAST, s2ip=FAST),
)  # fmt: skip


def test_rows_columns_and_the_real_future() -> None:
    frame = waves()
    found = Forecaster(CONFIG).fit(frame.sample(frac=1, random_state=0)).predict()
    assert list(found.columns) == ["unique_id", "ds", "seasonal_naive", "ridge"]
    assert len(found) == 3 * 6
    for series, own in found.groupby("unique_id"):
        last = frame[frame.unique_id == series]
        assert own.ds.iloc[0] == last.ds.iloc[-1] + pd.Timedelta(hours=1)
        # in the series' own units: the values a season ago
        np.testing.assert_allclose(own.seasonal_naive, last.y.iloc[-12:-6], rtol=1e-5)
        truth = 10.0 ** int(series[1]) * (
            3 + np.sin(2 * np.pi * np.arange(len(last), len(last) + 6) / 12)
        )
        assert np.abs(own.ridge / truth - 1).max() < 0.15


def test_two_models_in_one_fit_are_two_fits() -> None:
    frame = waves()
    both = Forecaster(CONFIG).fit(frame).predict()
    for name in CONFIG.models:
        alone = Forecaster(replace(CONFIG, models=[name])).fit(frame).predict()
        pd.testing.assert_series_equal(both[name], alone[name])


def test_series_unseen_in_fit() -> None:
    fitted = Forecaster(CONFIG).fit(waves(), val_size=60)
    other = waves(seed=5).assign(unique_id=lambda f: "new_" + f.unique_id)
    found = fitted.predict(other, level=[80.0])
    assert found.unique_id.unique().tolist() == ["new_s0", "new_s1", "new_s2"]
    assert (found["ridge-hi-80"] > found["ridge-lo-80"]).all()
    again = fitted.predict(other, level=[80.0])
    pd.testing.assert_frame_equal(found, again)


def test_intervals_are_nested_and_need_windows() -> None:
    fitted = Forecaster(CONFIG).fit(waves(), val_size=60)
    found = fitted.predict(level=[80.0, 95.0])
    assert list(found.columns[3:]) == [
        "seasonal_naive-lo-80", "seasonal_naive-hi-80", "seasonal_naive-lo-95",
        "seasonal_naive-hi-95", "ridge", "ridge-lo-80", "ridge-hi-80", "ridge-lo-95", "ridge-hi-95",
    ]  # fmt: skip
    assert (found["ridge-lo-95"] <= found["ridge-lo-80"]).all()
    assert (found["ridge-lo-80"] <= found["ridge"]).all()
    assert (found["ridge-hi-80"] <= found["ridge-hi-95"]).all()
    bare = Forecaster(CONFIG).fit(waves())
    with pytest.raises(UserError, match="needs 4 calibration windows, there are 0"):
        bare.predict(level=[80.0])


def test_backtest_equals_predicting_from_every_cutoff() -> None:
    frame = waves()
    forecaster = Forecaster(CONFIG)
    found = forecaster.cross_validation(frame, n_windows=3, step_size=4)
    assert list(found.columns) == ["unique_id", "ds", "cutoff", "y", "seasonal_naive", "ridge"]
    assert len(found) == 3 * 3 * 6
    first = _cut(frame, 6 + 2 * 4)
    once = Forecaster(CONFIG).fit(first)
    for back in (6 + 8, 6 + 4, 6):
        known = _cut(frame, back)
        wanted = once.predict(known)
        own = found[found.cutoff.isin(known.groupby("unique_id").ds.max())]
        own = own.merge(wanted, on=["unique_id", "ds"], suffixes=("", "_wanted"))
        assert len(own) == 18
        np.testing.assert_allclose(own.ridge, own.ridge_wanted, rtol=1e-6)
    truth = frame.set_index(["unique_id", "ds"]).y
    assert (found.set_index(["unique_id", "ds"]).y == truth.loc[
        found.set_index(["unique_id", "ds"]).index]).all()  # fmt: skip


def test_backtest_is_the_same_cutoff_by_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """All windows of a backtest at once, in parts, and each cutoff by itself."""
    found = []
    for at_once in (256, 6, 1):
        monkeypatch.setattr("forecasting.panel_forecast.SCORED_BATCH", at_once)
        found.append(
            Forecaster(CONFIG).cross_validation(
                waves(), n_windows=5, step_size=4, val_size=40, level=[80.0]
            )
        )
    whole, parts, single = found
    assert whole.groupby("unique_id").cutoff.nunique().tolist() == [5, 5, 5]
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-5)
    pd.testing.assert_frame_equal(whole, single, rtol=1e-5)


def test_refitting_sees_more() -> None:
    frame = waves()
    once = Forecaster(CONFIG).cross_validation(frame, n_windows=2)
    anew = Forecaster(CONFIG).cross_validation(frame, n_windows=2, refit=True)
    cutoffs = sorted(once[once.unique_id == "s0"].cutoff.unique())
    first, second = (once.cutoff == cutoffs[0]), (once.cutoff == cutoffs[1])
    np.testing.assert_allclose(once[first].ridge, anew[first].ridge)
    assert not np.allclose(once[second].ridge, anew[second].ridge)


def test_nothing_after_a_cutoff_reaches_its_forecast() -> None:
    frame = waves()
    wrecked = frame.copy()
    late = wrecked.groupby("unique_id").cumcount(ascending=False) < 6
    wrecked.loc[late, "y"] = 1e9
    clean, dirty = (
        Forecaster(replace(CONFIG, models=["ridge", "dlinear"])).cross_validation(
            rows, val_size=40, level=[80.0]
        )
        for rows in (frame, wrecked)
    )
    columns = [name for name in clean.columns if name != "y"]
    pd.testing.assert_frame_equal(clean[columns], dirty[columns])


def test_time_zone_is_kept() -> None:
    frame = waves()
    frame["ds"] = frame.ds.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    found = Forecaster(CONFIG).cross_validation(frame)
    assert str(found.ds.dt.tz) == str(found.cutoff.dt.tz) == "Europe/Berlin"


def test_constant_series_stay_constant() -> None:
    found = Forecaster(CONFIG).fit(waves().assign(y=3.0)).predict()
    assert (found.ridge == 3.0).all() and (found.seasonal_naive == 3.0).all()


@pytest.mark.parametrize("name", ["ridge", "cutoff"])
def test_names_of_the_forecasts_own_columns_are_refused(name: str) -> None:
    frame = waves().rename(columns={"unique_id": name})
    with pytest.raises(UserError, match=f"column {name} has the name of a column of forecasts"):
        Forecaster(replace(CONFIG, id_col=name)).fit(frame)


def test_short_series() -> None:
    frame = waves((200, 20))
    fitted = Forecaster(CONFIG).fit(frame)  # the long one teaches
    with pytest.raises(UserError, match="1 series have fewer than the 24 rows of context: s1"):
        fitted.predict()
    padded = Forecaster(replace(CONFIG, pad="edge")).fit(frame).predict()
    assert padded.ridge.notna().all() and len(padded) == 12
    with pytest.raises(UserError, match=r"no series has 24 \+ 6 training rows, the longest has 20"):
        Forecaster(CONFIG).fit(waves((20,)))
    with pytest.raises(UserError, match="1 series have no more than the 30 rows of val_size"):
        Forecaster(CONFIG).fit(frame, val_size=30)


def test_wrong_calls() -> None:
    with pytest.raises(UserError, match="call fit first"):
        Forecaster(CONFIG).predict()
    with pytest.raises(UserError, match="dlinear needs windows to stop by: .* at least 12"):
        Forecaster(replace(CONFIG, models=["dlinear"])).fit(waves())
    with pytest.raises(UserError, match="s1 has 20 rows, none before the first cutoff"):
        Forecaster(CONFIG).cross_validation(waves((200, 20)), n_windows=4)
    with pytest.raises(UserError, match="1 series have fewer than the 24 rows of context: s1;"):
        Forecaster(CONFIG).cross_validation(waves((200, 30)), n_windows=3, step_size=2)
    with pytest.raises(ValueError, match="ridge_tuned chooses its own context"):
        ForecasterConfig(models=["ridge_tuned"])


def test_files_give_the_same_forecast(tmp_path: Path) -> None:
    frame = waves()
    config = replace(CONFIG, models=["seasonal_naive", "ridge", "dlinear"])
    fitted = Forecaster(config).fit(frame, val_size=60)
    fitted.save(tmp_path / "kept")
    loaded = Forecaster.load(tmp_path / "kept")
    assert loaded.config == config
    for rows in (None, frame):
        pd.testing.assert_frame_equal(
            fitted.predict(rows, level=[80.0]), loaded.predict(rows, level=[80.0]), check_exact=True
        )


def test_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no forecaster in"):
        Forecaster.load(tmp_path)
    folder = tmp_path / "kept"
    Forecaster(CONFIG).fit(waves()).save(folder)
    (folder / "models" / "ridge.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="ridge.safetensors is damaged"):
        Forecaster.load(folder)
    (folder / "models" / "ridge.safetensors").unlink()
    with pytest.raises(UserError, match="ridge.safetensors is missing"):
        Forecaster.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is damaged"):
        Forecaster.load(folder)


def test_language_models_stay_where_they_are(tmp_path: Path) -> None:
    model = saved(tmp_path / "gpt2")
    s2ip = S2ipConfig(
        trend_window=8, season=4, patch_length=6, stride=4, anchors=AnchorConfig(count=12),
        backbone=BackboneConfig(model=str(model), layers=2),
    )  # fmt: skip
    config = replace(CONFIG, models=["s2ip"], networks=NetworksConfig(s2ip=s2ip))
    fitted = Forecaster(config).fit(waves(), val_size=40)
    fitted.save(tmp_path / "kept")
    size = sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert size < model.joinpath("model.safetensors").stat().st_size
    moved = model.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no language model|holds no model|has none of"):
        Forecaster.load(tmp_path / "kept")
    loaded = Forecaster.load(tmp_path / "kept", backbone=str(moved))
    pd.testing.assert_frame_equal(fitted.predict(), loaded.predict(), check_exact=True)
    content = bytearray((moved / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (moved / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(UserError, match="was trained with"):
        Forecaster.load(tmp_path / "kept", backbone=str(moved))


def test_configuration_survives_json() -> None:
    from foretell.config import from_dict, to_dict

    config = replace(CONFIG, networks=NetworksConfig(ridge=RidgeConfig(penalty=0.5)))
    assert from_dict(ForecasterConfig, json.loads(json.dumps(to_dict(config)))) == config


def _cut(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    return frame[frame.groupby("unique_id").cumcount(ascending=False) >= rows]
