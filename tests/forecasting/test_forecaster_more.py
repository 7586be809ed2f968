"""Quantile heads, horizons beyond the trained one, in-sample forecasts, ways to construct."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from panel_frames import waves

from forecasting.config import BenchmarkConfig, FitConfig, FitsConfig
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig, forecaster_config
from forecasting.model_config import DLinearConfig, MixerForecasterConfig, RidgeConfig, mixer_preset
from forecasting.quantiles import QuantileForecaster, pinball
from foretell.config import from_dict
from foretell.errors import UserError

FAST = FitConfig(lr=5e-3, batch=32, max_epochs=3, windows_per_epoch=128)
CONFIG = ForecasterConfig(
    models=["seasonal_naive", "ridge"], horizon=6, context=24, freq="h", season=12,
    fits=FitsConfig(dlinear=FAST, nlinear=FAST),
)  # fmt: skip
QUANTILES = replace(CONFIG, models=["last", "nlinear"], quantiles=[0.1, 0.5, 0.9])


def test_pinball_by_hand() -> None:
    y = torch.tensor([[[2.0]]])
    forecasts = torch.tensor([[[[1.0], [3.0]]]])
    # .1 * (2 - 1) = .1, and (.9 - 1) * (2 - 3) = .1
    assert float(pinball(forecasts, y, torch.tensor([0.1, 0.9]))) == pytest.approx(0.1)
    forecasts.requires_grad_()
    levels = torch.tensor([0.1, 0.9]).double()
    assert torch.autograd.gradcheck(
        lambda f: pinball(f, y.double(), levels), (forecasts.detach().double().requires_grad_(),)
    )


def test_quantiles_never_cross_and_train_where_they_belong() -> None:
    torch.manual_seed(0)
    noise = torch.nn.Parameter(torch.zeros(3, 1))

    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = noise

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.values.expand(len(x), 3, 1)

    model = QuantileForecaster(Constant(), 1, [0.1, 0.5, 0.9])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(400):
        loss, _ = model.loss(torch.zeros(512, 4, 1), torch.randn(512, 1, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.quantiles(torch.zeros(1, 4, 1))[0, 0, :, 0]
    torch.testing.assert_close(found, torch.tensor([-1.2816, 0.0, 1.2816]), atol=0.12, rtol=0)
    assert float(model(torch.zeros(1, 4, 1))) == float(found[1])
    noise.data = torch.tensor([[3.0], [1.0], [2.0]])
    assert model.quantiles(torch.zeros(1, 4, 1)).flatten().tolist() == [1.0, 2.0, 3.0]


def test_columns_of_quantiles(tmp_path: Path) -> None:
    fitted = Forecaster(QUANTILES).fit(waves(), val_size=40)
    found = fitted.predict()
    wanted = ["unique_id", "ds", "last", "nlinear", "nlinear-q10", "nlinear-q50", "nlinear-q90"]
    assert list(found.columns) == wanted
    assert (found["nlinear-q10"] <= found.nlinear).all()
    assert (found.nlinear <= found["nlinear-q90"]).all()
    pd.testing.assert_series_equal(found.nlinear, found["nlinear-q50"], check_names=False)
    assert list(fitted.predict(quantiles=[0.9]).columns) == [*wanted[:4], "nlinear-q90"]
    with pytest.raises(UserError, match=r"quantile 0.2 was not trained for; there are \[0.1, 0.5"):
        fitted.predict(quantiles=[0.2])
    fitted.save(tmp_path)
    pd.testing.assert_frame_equal(found, Forecaster.load(tmp_path).predict(), check_exact=True)
    tested = fitted.cross_validation(waves(), val_size=40, n_windows=2)
    assert "nlinear-q90" in tested and len(tested) == 3 * 2 * 6


def test_quantiles_are_refused_where_there_is_no_head() -> None:
    with pytest.raises(ValueError, match="ridge has no quantile head"):
        replace(CONFIG, quantiles=[0.5])
    for wrong in ([0.1, 0.9], [0.9, 0.5], [0.5, 1.0], [0.5, 0.5]):
        with pytest.raises(ValueError, match="quantiles must ascend"):
            replace(QUANTILES, quantiles=wrong)


def test_beyond_the_horizon_by_feeding_back() -> None:
    fitted = Forecaster(CONFIG).fit(waves())
    found = fitted.predict(horizon=15)
    assert len(found) == 3 * 15
    assert found.recursive.tolist() == ([False] * 6 + [True] * 9) * 3
    # the seasonal naive forecast repeats its season for ever
    own = found[found.unique_id == "s1"].seasonal_naive.to_numpy()
    np.testing.assert_allclose(own[12:], own[:3], rtol=1e-5)
    short = fitted.predict(horizon=4)
    assert "recursive" not in short
    pd.testing.assert_frame_equal(
        short, fitted.predict().groupby("unique_id").head(4).reset_index(drop=True)
    )
    with pytest.raises(UserError, match="intervals were calibrated for 6 steps, 7 are asked for"):
        fitted.predict(horizon=7, level=[80])
    with pytest.raises(UserError, match="horizon must be at least 1"):
        fitted.predict(horizon=0)


def test_in_sample_forecasts_say_what_taught(tmp_path: Path) -> None:
    frame = waves()
    fitted = Forecaster(CONFIG).fit(frame, val_size=40)
    found = fitted.predict_insample(step_size=3)
    assert list(found.columns[2:]) == ["cutoff", "y", "seasonal_naive", "ridge", "part"]
    truth = frame.set_index(["unique_id", "ds"]).y
    assert (found.set_index(["unique_id", "ds"]).y == truth.loc[
        found.set_index(["unique_id", "ds"]).index]).all()  # fmt: skip
    own = found[found.unique_id == "s1"]  # 150 rows: 110 teach, 20 stop, 20 calibrate
    assert own.cutoff.nunique() == len(range(24, 150 - 6 + 1, 3))
    last = own.groupby("cutoff").agg(end=("ds", "max"), part=("part", "first"))
    row = ((last.end - frame[frame.unique_id == "s1"].ds.min()) / pd.Timedelta("1h")).astype(int)
    assert (last.part[row < 110] == "train").all() and (last.part[row < 110]).size > 20
    assert (last.part[(row >= 115) & (row < 130)] == "val").all()
    assert (last.part[row >= 135] == "calibration").all()
    assert (last.part[(row >= 110) & (row < 115)] == "across").all()
    single = found[found.cutoff == own.cutoff.max()]
    known = frame[frame.ds <= own.cutoff.max()]
    again = fitted.predict(known[known.unique_id == "s1"])
    np.testing.assert_allclose(single[single.unique_id == "s1"].ridge, again.ridge, rtol=1e-6)
    fitted.save(tmp_path)
    with pytest.raises(UserError, match="a loaded forecaster does not keep"):
        Forecaster.load(tmp_path).predict_insample()


def test_windows_of_a_test_part() -> None:
    by_size = Forecaster(CONFIG).cross_validation(waves(), test_size=17, step_size=4)
    by_count = Forecaster(CONFIG).cross_validation(waves(), n_windows=3, step_size=4)
    pd.testing.assert_frame_equal(by_size, by_count)
    with pytest.raises(UserError, match="test_size must hold a horizon"):
        Forecaster(CONFIG).cross_validation(waves(), test_size=5)


def test_models_by_name_or_by_their_configuration() -> None:
    mixer = MixerForecasterConfig(mixer_preset("aaren"), dim=16)
    config = forecaster_config(
        ["nlinear", RidgeConfig(penalty=0.5), DLinearConfig(trend_window=5), mixer],
        horizon=6, lookback=24, freq="h", future_cols=("holiday",),
    )  # fmt: skip
    assert config.models == ["nlinear", "ridge", "dlinear", "aaren"]
    assert config.networks.ridge.penalty == 0.5 and config.networks.aaren.dim == 16
    assert (config.context, config.future_cols) == (24, ["holiday"])
    one = Forecaster(models=[RidgeConfig()], horizon=6, context=24, freq="h", seed=3)
    pd.testing.assert_series_equal(
        one.fit(waves()).predict().ridge, Forecaster(CONFIG).fit(waves()).predict().ridge
    )
    with pytest.raises(UserError, match="unknown key 'horizn'"):
        Forecaster(models=["ridge"], horizn=6)
    with pytest.raises(ValueError, match="give a ForecasterConfig, or its fields"):
        Forecaster()
    with pytest.raises(ValueError, match="give a ForecasterConfig, or its fields"):
        Forecaster(CONFIG, horizon=6)


@pytest.mark.parametrize("kind", [ForecasterConfig, BenchmarkConfig])
@pytest.mark.parametrize("name", ["look_back", "lookback", "input_size"])
def test_other_names_of_context(kind: type, name: str) -> None:
    assert from_dict(kind, {name: 48}).context == 48
    with pytest.raises(UserError, match=f"context is given twice, as {name} too"):
        from_dict(kind, {"context": 48, name: 48})
