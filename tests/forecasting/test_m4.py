"""`foretell forecast m4` from the command line: one table, restartable, the test unseen."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.config import FitConfig, FitsConfig
from forecasting.data.m4_windows import as_windows
from forecasting.m4 import Run, run_row
from forecasting.m4_config import M4Config, M4DataConfig
from forecasting.m4_data import read_m4_data
from foretell.cli import main
from foretell.config import RunOptions, TrainerConfig

FAST = ("--fits.nlinear.max_epochs", "2", "--fits.nlinear.batch", "8", "--trainer.accelerator",
        "cpu")  # fmt: skip
HORIZON = 8  # quarterly


def _write(path: Path, rows: list[np.ndarray]) -> None:
    width = max(len(row) for row in rows)
    lines = ["id," + ",".join(f"V{place}" for place in range(width))]
    for place, row in enumerate(rows):
        empty = [""] * (width - len(row))
        lines.append(",".join([f"Q{place}", *(repr(float(value)) for value in row), *empty]))
    path.write_text("\n".join(lines) + "\n")


def _series() -> list[np.ndarray]:
    """Twelve quarterly series of unequal length and size, noise on a season."""
    random, rows = np.random.default_rng(0), []
    for place in range(12):
        t = np.arange(30 + 3 * place + HORIZON)
        rows.append(
            10.0 ** (place % 3) * (5 + np.sin(np.pi * t / 2) + 0.1 * random.normal(size=len(t)))
        )
    return rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Training file, its test beside it."""
    rows = _series()
    _write(tmp_path / "Quarterly-train.csv", [row[:-HORIZON] for row in rows])
    _write(tmp_path / "Quarterly-test.csv", [row[-HORIZON:] for row in rows])
    return tmp_path / "Quarterly-train.csv"


def _run(file: Path, out: Path, *words: str) -> int:
    base = ["forecast", "m4", "--data.train", str(file), "--out", str(out), "--quiet"]
    return main([*base, *FAST, *words])


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as text:
        return list(csv.DictReader(text))


def test_table_metrics_and_restart(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--models", "last,seasonal_naive,drift,naive2,ridge,nlinear", "--seeds", "2",
             "--cuts", "4")  # fmt: skip
    assert _run(file, out, *words) == 0
    by_name = {row["name"]: row for row in _rows(out)}
    assert set(by_name) == {
        "last", "seasonal_naive", "drift", "naive2", "ridge/16", "nlinear/16/0", "nlinear/16/1"
    }  # fmt: skip
    assert float(by_name["naive2"]["owa"]) == pytest.approx(1.0)
    assert float(by_name["ridge/16"]["mase"]) < float(by_name["last"]["mase"])
    one, two = by_name["nlinear/16/0"], by_name["nlinear/16/1"]
    assert one["smape"] != two["smape"] and one["epochs"] == "2" and one["series"] == "12"
    assert one["windows_per_epoch"] == "48" and one["weights"] == str(17 * HORIZON)

    found = json.loads((out / "metrics.json").read_text())
    assert found["test/nlinear/smape/n"] == 2 and found["test/last/owa/std"] is None
    mean = (float(one["mase"]) + float(two["mase"])) / 2
    assert found["test/nlinear/mase/mean"] == pytest.approx(mean)
    assert "| nlinear |" in (out / "table.md").read_text()

    lines = (out / "table.csv").read_text().splitlines(keepends=True)
    (out / "table.csv").write_text("".join(lines[:5]))
    assert _run(file, out, *words) == 0
    for row in _rows(out):
        for column in ("smape", "mase", "owa", "val_smape", "weights"):
            assert row[column] == by_name[row["name"]][column]

    assert _run(file, out, *words, "--networks.ridge.penalty", "0.5") == 2  # another setting
    assert _run(file, out, "--models", "ridge", "--context", "12") == 0  # beside the others
    found = json.loads((out / "metrics.json").read_text())
    assert len(_rows(out)) == 8 and "test/last/smape/mean" not in found
    assert found["test/ridge/smape/n"] == 1


def test_untrained_forecasts_by_hand(tmp_path: Path) -> None:
    seen, future = np.array([1.0, 2, 3, 5, 4, 7, 8, 6, 9, 10, 12, 11, 13]), np.arange(14.0, 20)
    _write(tmp_path / "Yearly-train.csv", [seen])
    _write(tmp_path / "Yearly-test.csv", [future])
    data = M4DataConfig(train=str(tmp_path / "Yearly-train.csv"))
    rows = {
        name: run_row(Run(M4Config(data=data), RunOptions(), name))
        for name in ("last", "drift", "seasonal_naive")
    }
    scale = np.abs(np.diff(seen)).mean()
    assert rows["last"]["mase"] == pytest.approx(np.abs(future - 13).mean() / scale)
    assert rows["last"]["mase"] == rows["seasonal_naive"]["mase"]  # a season of one
    assert rows["drift"]["mase"] == pytest.approx(0.0)  # it rises by one a step
    known, held = seen[:7], seen[7:]
    share = np.abs(held - known[-1]) / (held + known[-1])
    assert rows["last"]["val_smape"] == pytest.approx(200 * share.mean())
    scale = np.abs(np.diff(known)).mean()
    assert rows["last"]["val_mase"] == pytest.approx(np.abs(held - known[-1]).mean() / scale)


def test_training_never_meets_validation_nor_test(file: Path) -> None:
    """Other values there leave every training batch and the ridge's windows bitwise equal."""
    config = M4Config(data=M4DataConfig(train=str(file)), cuts=5)
    before = read_m4_data(config)
    rows = _series()
    for row in rows:
        row[-2 * HORIZON :] = 1e9
    _write(file, [row[:-HORIZON] for row in rows])
    _write(file.with_name("Quarterly-test.csv"), [row[-HORIZON:] for row in rows])
    after = read_m4_data(config)
    keys = [(epoch, place) for epoch in range(20) for place in range(60)]
    for one, other in zip(
        before.random_cuts(5, 0).__getitems__(keys), after.random_cuts(5, 0).__getitems__(keys),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
        assert one.nan_to_num().abs().max() < 10
    # validation sees up to its target, the test up to the end of the file
    assert torch.equal(before.last_cut("val").x, after.last_cut("val").x)
    assert not torch.equal(before.last_cut("val").y, after.last_cut("val").y)
    assert not torch.equal(before.last_cut("test").x, after.last_cut("test").x)
    assert after.last_cut("test").y.isnan().all()
    _, y = as_windows(before.last_cut("val")).gather(torch.arange(12))
    held = torch.tensor(np.stack(before.held))[..., None]
    torch.testing.assert_close(y.double() * before.last_cut("val").scale, held, rtol=1e-6, atol=0)


def test_validation_alone_does_not_open_the_test_file(file: Path, tmp_path: Path) -> None:
    fits = FitsConfig(nlinear=FitConfig(max_epochs=2, batch=8))
    data, trainer = M4DataConfig(train=str(file)), TrainerConfig(accelerator="cpu", threads=1)
    found = []
    for part in ("test", "val"):
        config = M4Config(data=data, fits=fits, trainer=trainer, parts=[part])
        options = RunOptions(out=str(tmp_path / part), quiet=True)
        found.append([run_row(Run(config, options, name)) for name in ("naive2", "nlinear")])
        file.with_name("Quarterly-test.csv").unlink(missing_ok=True)
    for one, other in zip(*found, strict=True):
        assert other["smape"] is None and one["smape"] is not None
        assert other["val_smape"] == one["val_smape"] is not None


def test_models_beat_the_last_value(file: Path, tmp_path: Path) -> None:
    """Every kind of network runs, on short contexts too; a weight of MASE in the loss."""
    sizes = [
        word
        for name in ("patchtst", "lstm")
        for word in (f"--networks.{name}.patch_length", "4", f"--networks.{name}.stride", "4")
    ]
    out = tmp_path / "run"
    words = ("--models", "last,dlinear,patchtst,lstm", "--scaling", "season", "--mase_weight", "5",
             "--cuts", "8", "--fits.dlinear.batch", "16", "--fits.patchtst.max_epochs", "8",
             "--fits.mixers.max_epochs", "8", "--networks.dlinear.trend_window", "5")  # fmt: skip
    assert _run(file, out, *words, *sizes) == 0
    last, *others = (float(row["mase"]) for row in _rows(out))
    assert len(others) == 3 and max(others) < last


def test_frequency_and_test_file_by_name(file: Path, tmp_path: Path) -> None:
    other = file.rename(tmp_path / "mine.csv")
    future = (tmp_path / "Quarterly-test.csv").rename(tmp_path / "future.csv")
    data = M4DataConfig(train=str(other), test=str(future), frequency="quarterly")
    series = read_m4_data(M4Config(data=data)).series
    assert (series.frequency, len(series.test), len(series.test[0])) == ("quarterly", 12, HORIZON)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--data.frequency", "hourli"), "did you mean 'hourly'"),
        (("--data.train", "none-quarterly.csv", "--parts", "val"), "no file none-quarterly.csv"),
        (("--data.train", "none.csv"), "not named as the competition"),
        (("--data.train", ""), "--data.train is missing"),
        (("--data.test", "none.csv"), "no file none.csv"),
        (("--models", "nlinaer"), "did you mean 'nlinear'"),
        (("--models", "last,last"), "none twice"),
        (("--mase_weight", "1"), "asks for --scaling season"),
        (("--scaling", "season", "--context", "4"), "needs a context above the season, 4"),
        (("--models", "patchtst", "--context", "8"), "longer than the context"),
        (("--history", "0"), "history must be positive"),
        (("--data.frequency", "monthly", "--parts", "val"), "Q0 has 30 training values, monthly"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...],
    told: str,
) -> None:  # fmt: skip
    assert _run(file, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (np.arange(8.0), "series Q0 has 8 training values, quarterly needs 13"),
        (np.tile([1.0, 2, 3, 4], 6), "series Q0 repeats with season 4 until validation"),
    ],
)
def test_series_without_a_score_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: np.ndarray, told: str
) -> None:
    _write(tmp_path / "Quarterly-train.csv", [row])
    words = ("--models", "last", "--parts", "val")
    assert _run(tmp_path / "Quarterly-train.csv", tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1


def test_hourly_as_the_competition_has_it(test_data: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "run", ("--models", "last,seasonal_naive,naive2")
    assert _run(test_data / "timeseries" / "M4-Hourly-train.csv", out, *words) == 0
    found = [(round(float(row["smape"]), 3), round(float(row["mase"]), 3)) for row in _rows(out)]
    assert found == [(43.003, 11.608), (13.912, 1.193), (18.383, 2.395)]
