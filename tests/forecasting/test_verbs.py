"""train, predict and backtest from the command line on a user's own file with missing hours."""

import json
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import saved

from forecasting.backtest import mean_mase, relative
from foretell.cli import main

SIZES = ("--models", "ridge", "--horizon", "12", "--context", "48", "--freq", "h", "--season", "24")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three shops, 500 hours, some of them missing."""
    random, parts = np.random.default_rng(0), []
    for place, shop in enumerate(("north", "south", "east")):
        t = np.arange(500)
        sold = 10.0**place * (5 + np.sin(2 * np.pi * t / 24) + 0.2 * random.normal(size=500))
        parts.append(pd.DataFrame({
            "unique_id": shop, "ds": pd.date_range("2024-05-01", periods=500, freq="h"), "y": sold,
        }))  # fmt: skip
    frame = pd.concat(parts).reset_index(drop=True)
    path = tmp_path / "shops.csv"
    frame.drop(index=[100, 101, 700]).to_csv(path, index=False)
    return path


def _run(verb: str, out: Path, *words: str) -> int:
    return main(["forecast", verb, "--out", str(out), "--quiet", *words])


def test_train_then_predict_the_real_future(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "future"
    assert _run("train", run, "--data.path", str(file), "--fill", "ffill", *SIZES) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads(capsys.readouterr().out) == {"out": str(run), "metrics": metrics}
    assert set(metrics) == {
        f"val/{name}/mae_scaled" for name in ("ridge", "last", "seasonal_naive")
    }
    assert metrics["val/ridge/mae_scaled"] < metrics["val/last/mae_scaled"]
    assert _run("predict", out, "--model", str(run / "model"), "--level", "80,95") == 0
    found = pd.read_csv(out / "forecast.csv", parse_dates=["ds"])
    assert list(found.columns[:5]) == ["unique_id", "ds", "ridge", "ridge-lo-80", "ridge-hi-80"]
    assert found.groupby("unique_id").size().to_dict() == {"east": 12, "north": 12, "south": 12}
    assert found.ds.min() == pd.Timestamp("2024-05-01") + pd.Timedelta(hours=500)
    levels = found.groupby("unique_id").ridge.mean()
    assert levels["east"] > 10 * levels["north"] / 2  # in each series' own units
    assert (out / "figures" / "forecasts.png").stat().st_size > 10_000

    # other series, as Parquet, from the same model
    other = pd.read_csv(file, parse_dates=["ds"])
    other = other[other.unique_id == "south"].assign(unique_id="new")
    other.iloc[200:].to_parquet(tmp_path / "new.parquet", index=False)
    again = tmp_path / "again"
    words = ("--model", str(run / "model"), "--data.path", str(tmp_path / "new.parquet"))
    assert _run("predict", again, *words, "--format", "parquet", "--level", "[]") == 0
    assert pd.read_parquet(again / "forecast.parquet").unique_id.unique().tolist() == ["new"]


def test_everything_works_without_a_network(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    words = (
        "--data.path", str(file), "--fill", "ffill", "--models", "s2ip", "--horizon", "12",
        "--context", "48", "--freq", "h", "--networks.s2ip.anchors.count", "12",
        "--networks.s2ip.backbone.layers", "2", "--networks.s2ip.trend_window", "12",
        "--fits.s2ip.max_epochs", "1", "--fits.s2ip.windows_per_epoch", "32",
    )  # fmt: skip
    model = str(saved(tmp_path / "gpt2"))
    run, out = tmp_path / "run", tmp_path / "out"
    assert _run("train", run, *words, "--networks.s2ip.backbone.model", model) == 0
    assert _run("predict", out, "--model", str(run / "model")) == 0
    capsys.readouterr()
    named = ("--networks.s2ip.backbone.model", "nobody/nothing")
    assert _run("train", tmp_path / "none", *words, *named) == 2
    told = capsys.readouterr().err
    assert "no language model 'nobody/nothing'; tried: folder" in told and told.count("\n") == 1


def test_backtest(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "back"
    words = ("--data.path", str(file), "--fill", "ffill", "--n_windows", "3", *SIZES)
    assert _run("backtest", out, *words) == 0
    found = pd.read_csv(out / "backtest.csv")
    assert len(found) == 3 * 3 * 12 and found.cutoff.nunique() == 3
    errors = pd.read_csv(out / "errors.csv")
    assert len(errors) == 3 * 3 and set(errors.model) == {"ridge", "last", "seasonal_naive"}
    north = found[found.unique_id == "north"]
    own = errors[(errors.series == "north") & (errors.model == "ridge")]
    assert own.mae.item() == pytest.approx((north.y - north.ridge).abs().mean())
    known = pd.read_csv(file, parse_dates=["ds"]).set_index("ds").query("unique_id == 'north'").y
    known = known.asfreq("h").ffill()[: str(pd.to_datetime(north.cutoff).min())]
    scale = known.diff(24).abs().mean()
    assert own.mase.item() == pytest.approx(own.mae.item() / scale)
    intervals = pd.read_csv(out / "intervals.csv")
    assert {"all", "1", "2", "3", "4"} == set(intervals.quarter.astype(str))
    chosen = intervals[(intervals.model == "ridge") & (intervals.level == 80)]
    whole = chosen[(chosen.series == "all") & (chosen.quarter.astype(str) == "all")]
    inside = (found["ridge-lo-80"] <= found.y) & (found.y <= found["ridge-hi-80"])
    assert whole.coverage_pct.item() == pytest.approx(100 * inside.mean())
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test/ridge/mase/mean"] == pytest.approx(
        errors[errors.model == "ridge"].mase.mean()
    )
    assert metrics["test/last/rmae/mean"] == 1.0 and metrics["test/ridge/rmae/mean"] < 1.0
    assert metrics["test/ridge/80/coverage_pct/mean"] == pytest.approx(whole.coverage_pct.item())
    assert (out / "figures" / "backtest.png").is_file()


def test_series_that_never_change_have_no_relative_error() -> None:
    errors = pd.DataFrame({
        "series": ["a", "a"], "model": ["last", "ridge"], "mae": [0.0, 0.0], "mase": [None, None],
    })  # fmt: skip
    assert relative(errors, "ridge") is None and mean_mase(errors, "ridge") is None


def test_wide_files_are_made_long(tmp_path: Path) -> None:
    t = np.arange(300)
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=300, freq="h"),
                          "a": np.sin(t / 4), "b": np.cos(t / 4)})  # fmt: skip
    frame.to_csv(tmp_path / "wide.csv", index=False)
    assert _run("train", tmp_path / "run", "--data.path", str(tmp_path / "wide.csv"), *SIZES) == 0
    out = tmp_path / "out"
    assert _run("predict", out, "--model", str(tmp_path / "run" / "model")) == 0
    found = pd.read_csv(out / "forecast.csv")
    assert list(found.columns[:2]) == ["unique_id", "ds"]
    assert set(found.unique_id) == {"a", "b"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "series north goes from 2024-05-05 03:00:00 to 2024-05-05 06:00:00, and lacks"),
        (("--fill", "ffill", "--freq", "hour"), "freq 'hour' is no frequency"),
        (("--fill", "ffill", "--context", "600"), "no series has 600 + 12 training rows"),
        (("--fill", "ffill", "--val_size", "900"), "no more than the 900 rows of val_size"),
        (("--data.path", "none.csv"), "no file none.csv"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...],
    told: str,
) -> None:  # fmt: skip
    assert _run("train", tmp_path / "run", "--data.path", str(file), *SIZES, *words) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1


def test_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("predict", tmp_path / "out") == 2
    assert "--model is missing" in capsys.readouterr().err
    assert _run("predict", tmp_path / "out", "--model", str(tmp_path)) == 2
    assert "no forecaster in" in capsys.readouterr().err


def test_columns_known_ahead_and_quantiles(file: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(file)
    closed = frame.assign(closed=np.arange(len(frame)) % 5 == 0).astype({"closed": int})
    closed.to_csv(tmp_path / "closed.csv", index=False)
    stamps = pd.date_range("2024-05-01", periods=524, freq="h")[-24:]
    parts = [
        pd.DataFrame({"unique_id": shop, "ds": stamps, "closed": 0})
        for shop in ("north", "south", "east")
    ]
    pd.concat(parts).to_csv(tmp_path / "next.csv", index=False)
    run, out = tmp_path / "run", tmp_path / "future"
    words = (
        "--data.path", str(tmp_path / "closed.csv"), "--fill", "ffill", "--models", "lstm",
        "--horizon", "12", "--lookback", "48", "--freq", "h", "--future_cols", "closed",
        "--quantiles", ".1,.5,.9", "--fits.mixers.max_epochs", "1",
        "--fits.mixers.windows_per_epoch", "32",
    )  # fmt: skip
    assert _run("train", run, *words) == 0
    ahead = ("--model", str(run / "model"), "--future.path", str(tmp_path / "next.csv"))
    assert _run("predict", out, *ahead) == 0
    found = pd.read_csv(out / "forecast.csv")
    assert {"lstm-q10", "lstm-q90", "lstm-lo-80", "last"} <= set(found.columns)
    assert len(found) == 36 and found.notna().all(axis=None)
    assert _run("predict", out, *ahead, "--horizon", "24", "--level", "[]") == 0
    far = pd.read_csv(out / "forecast.csv")
    assert len(far) == 72 and far.recursive.sum() == 36
