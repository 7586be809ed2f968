"""Exported graphs give the models' forecasts without this package."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from panel_frames import next_rows, waves, with_columns
from tiny_models import saved

from forecasting.config import FitConfig, FitsConfig, NetworksConfig
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from foretell.cli import main

FAST = FitConfig(lr=5e-3, batch=32, max_epochs=1, windows_per_epoch=32)
CONFIG = ForecasterConfig(
    models=["ridge", "patchtst"], horizon=6, context=24, freq="h",
    fits=FitsConfig(dlinear=FAST, patchtst=FAST, mixers=FAST),
)  # fmt: skip


def _saved(config: ForecasterConfig, folder: Path) -> Forecaster:
    fitted = Forecaster(config).fit(waves(), val_size=40)
    fitted.save(folder)
    return fitted


def _export(model: Path, out: Path, *words: str) -> int:
    return main(["forecast", "export", "--model", str(model), "--out", str(out), *words])


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_graphs_forecast_the_series_of_fit_in_their_units(kind: Any, tmp_path: Path) -> None:
    fitted = _saved(CONFIG, tmp_path / "model")
    assert _export(tmp_path / "model", tmp_path / "out", "--format", kind, "--quiet") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics) == {f"forecast/{name}/export_max_abs" for name in CONFIG.models}
    assert max(metrics.values()) < 1e-3
    scales = json.loads((tmp_path / "out" / "scales.json").read_text())
    frame, forecasts = waves(), fitted.predict()
    last = np.stack([own.y.to_numpy()[-24:] for _, own in frame.groupby("unique_id")])
    inputs = (
        torch.tensor(last[..., None]).float(),
        torch.tensor([scales[name]["mean"] for name in ("s0", "s1", "s2")]),
        torch.tensor([scales[name]["std"] for name in ("s0", "s1", "s2")]),
    )
    for name in CONFIG.models:
        path = tmp_path / "out" / f"{name}.{kind}"
        if kind == "pt2":
            found = torch.export.load(path).module()(*inputs).detach().numpy()
            again = (
                torch.export.load(path).module()(*(part[:1] for part in inputs)).detach().numpy()
            )
            np.testing.assert_allclose(again, found[:1], rtol=1e-4)
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            names = ("context", "mean", "std")
            feed = {key: part.numpy() for key, part in zip(names, inputs, strict=True)}
            found = session.run(["forecast"], feed)[0]
        np.testing.assert_allclose(found.ravel(), forecasts[name], rtol=1e-4)


def test_blocks_need_a_fixed_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _saved(replace(CONFIG, models=["lstm"]), tmp_path / "model")
    assert _export(tmp_path / "model", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "torch.export cannot take lstm" in told and "give --batch N" in told
    assert _export(tmp_path / "model", tmp_path / "out", "--batch", "2") == 0
    assert "differs from the model by" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_a_language_model_in_one_graph(kind: Any, tmp_path: Path) -> None:
    s2ip = S2ipConfig(
        trend_window=8, season=4, patch_length=6, stride=4, anchors=AnchorConfig(count=12),
        backbone=BackboneConfig(model=str(saved(tmp_path / "gpt2")), layers=2),
    )  # fmt: skip
    networks = NetworksConfig(s2ip=s2ip)
    config = replace(CONFIG, models=["s2ip"], networks=networks, fits=FitsConfig(s2ip=FAST))
    _saved(config, tmp_path / "model")
    assert _export(tmp_path / "model", tmp_path / "out", "--format", kind, "--quiet") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["forecast/s2ip/export_max_abs"] < 1e-3


def test_an_operation_without_counterpart_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _saved(replace(CONFIG, models=["lssl"]), tmp_path / "model")
    words = ("--batch", "2", "--format", "onnx")
    assert _export(tmp_path / "model", tmp_path / "out", *words) == 2
    assert "torch cannot convert lssl to ONNX" in capsys.readouterr().err
    assert not (tmp_path / "out" / "lssl.onnx").exists()


def test_declared_columns_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = with_columns(waves())[["unique_id", "ds", "y", "holiday"]]
    config = replace(CONFIG, models=["ridge"], future_cols=["holiday"])
    fitted = Forecaster(config).fit(frame, val_size=40)
    assert len(fitted.predict(future_df=next_rows(frame, 6))) == 18
    fitted.save(tmp_path / "model")
    assert _export(tmp_path / "model", tmp_path / "out") == 2
    assert "sees declared columns" in capsys.readouterr().err
    assert _export(Path("nowhere"), tmp_path / "out") == 2
    assert "no forecaster in nowhere" in capsys.readouterr().err
