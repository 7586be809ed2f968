"""`foretell forecast benchmark` from the command line: one table, restartable, no leak."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import saved

from forecasting.config import BenchmarkConfig
from foretell.cli import main
from foretell.peak_memory import reset_peak

FAST = (
    "--fits.dlinear.max_epochs", "2", "--fits.dlinear.windows_per_epoch", "64",
    "--fits.dlinear.batch", "32", "--context", "48", "--horizons", "12,24",
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two noisy seasons of 24 steps in 600 hours."""
    t = np.arange(600)
    noise = np.random.default_rng(0).normal(size=(600, 2))
    values = np.sin(2 * np.pi * t / 24)[:, None] * [1, 3] + 0.3 * noise
    frame = pd.DataFrame(values, columns=["a", "b"])
    frame.insert(0, "date", pd.date_range("2021-01-01", periods=600, freq="h"))
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    return path


def _run(file: Path, out: Path, *words: str) -> int:
    base = ["forecast", "benchmark", "--data.path", str(file), "--out", str(out), "--quiet"]
    return main([*base, *FAST, *words])


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as text:
        return list(csv.DictReader(text))


def test_table_metrics_and_restart(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--models", "last,seasonal_naive,ridge,ridge_tuned,dlinear", "--seeds", "2",
             "--networks.ridge.contexts", "24,48,500")  # fmt: skip
    assert _run(file, out, *words) == 0
    rows = _rows(out)
    # four without seeds and two seeds of one network, at two horizons
    assert len(rows) == 2 * (4 + 2)
    by_name = {row["name"]: row for row in rows}
    last, ridge = by_name["last/48/12"], by_name["ridge/48/12"]
    assert (last["data"], last["context"], last["horizon"], last["seed"]) == (
        "mine",
        "48",
        "12",
        "",
    )
    assert last["windows"] == str(120 - 12 + 1) and last["weights"] == "0"
    assert ridge["weights"] == str(48 * 12) and float(ridge["mse"]) < float(last["mse"])
    assert float(ridge["seconds"]) > 0 and (not reset_peak() or float(ridge["peak_mb"]) > 50)
    assert by_name["ridge_tuned/48/12"]["chosen"].endswith("of 8")  # 500 leaves no window
    one, two = by_name["dlinear/48/12/0"], by_name["dlinear/48/12/1"]
    assert one["mse"] != two["mse"] and one["windows_per_epoch"] == "64" and one["epochs"] == "2"

    found = json.loads((out / "metrics.json").read_text())
    assert found["test/dlinear/h12/mse/n"] == 2
    assert found["test/dlinear/h12/mse/mean"] == pytest.approx(
        (float(one["mse"]) + float(two["mse"])) / 2
    )
    assert found["test/ridge/h24/mae/mean"] == pytest.approx(float(by_name["ridge/48/24"]["mae"]))
    page = (out / "table.md").read_text()
    assert "| 12 | dlinear |" in page and "±" in page

    # half of the table is lost: the same command makes those rows again, with the same numbers
    lines = (out / "table.csv").read_text().splitlines(keepends=True)
    (out / "table.csv").write_text("".join(lines[:7]))
    assert _run(file, out, *words) == 0
    for row in _rows(out):
        for column in ("mse", "mae", "val_mse", "windows", "weights"):
            assert row[column] == by_name[row["name"]][column]


def test_rows_of_other_settings_are_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert _run(file, out, "--models", "ridge") == 0
    assert _run(file, out, "--models", "ridge", "--networks.ridge.penalty", "0.5") == 2
    assert "row ridge/48/12 was made with settings" in capsys.readouterr().err


def test_another_file_of_the_same_name_is_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert _run(file, out, "--models", "last") == 0
    frame = pd.read_csv(file)
    frame.loc[0, "a"] += 1
    frame.to_csv(file, index=False)
    assert _run(file, out, "--models", "last") == 2
    assert "row last/48/12 was made with settings" in capsys.readouterr().err


def test_validation_alone_never_scores_the_test(file: Path, tmp_path: Path) -> None:
    """Wrecking the test rows changes no number of a ranking on validation: no scaler, selection,
    anchor or normaliser sees them."""
    tiny = (
        "--networks.s2ip.backbone.model", str(saved(tmp_path / "gpt2")),
        "--networks.s2ip.backbone.layers", "2", "--networks.s2ip.anchors.count", "12",
        "--networks.s2ip.trend_window", "12", "--fits.s2ip.max_epochs", "1",
        "--fits.s2ip.windows_per_epoch", "32", "--horizons", "12",
    )  # fmt: skip
    frame = pd.read_csv(file)
    frame.loc[480:, ["a", "b"]] = 1e6
    wrecked = tmp_path / "wrecked" / "mine.csv"
    wrecked.parent.mkdir()
    frame.to_csv(wrecked, index=False)
    found = []
    for place, path in enumerate((file, wrecked)):
        out = tmp_path / f"run_{place}"
        words = ("--models", "ridge_tuned,dlinear,s2ip", "--parts", "val")
        assert _run(path, out, *words, "--networks.ridge.contexts", "48", *tiny) == 0
        found.append(_rows(out))
    for one, two in zip(*found, strict=True):
        assert one["mse"] == one["windows"] == "" and one["chosen"] == two["chosen"]
        assert (one["val_mse"], one["val_mae"]) == (two["val_mse"], two["val_mae"])


def test_parts_of_s2ip_left_out(file: Path, tmp_path: Path) -> None:
    out, cheap = tmp_path / "run", ("s2ip", "s2ip-none", "s2ip-attention", "s2ip-block")
    words = (
        "--models", "s2ip", "--networks.s2ip.backbone.model", str(saved(tmp_path / "gpt2")),
        "--networks.s2ip.backbone.layers", "1", "--networks.s2ip.anchors.count", "12",
        "--networks.s2ip.trend_window", "12", "--fits.s2ip.max_epochs", "1",
        "--fits.s2ip.windows_per_epoch", "32", "--horizons", "12",
    )  # fmt: skip
    assert _run(file, out, *words) == 0
    assert [row["model"] for row in _rows(out)] == [*cheap]
    assert _run(file, out, *words, "--ablate") == 0
    rows = {row["model"]: row for row in _rows(out)}
    dear = ("random", "random_anchors", "no_prefix", "no_decomposition", "shuffled")
    assert list(rows) == [*cheap, *(f"s2ip-{name}" for name in dear)]
    assert len({row["mse"] for row in rows.values()}) == len(rows)
    assert float(rows["s2ip-shuffled"]["mse"]) > float(rows["s2ip"]["mse"])
    assert int(rows["s2ip-none"]["weights"]) < int(rows["s2ip"]["weights"])
    page = (out / "table.md").read_text()
    assert "| 12 | s2ip-no_prefix | " in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--models", "rigde"), "did you mean 'ridge'"),
        (("--models", "ridge,ridge"), "names something twice"),
        (("--context", "700"), "a window of context 700 and horizon 12 needs 712"),
        (("--data.path", "none.csv"), "no file none.csv"),
        (("--models", "patchtst", "--context", "8"), "longer than the context"),
        (("--models", "seasonal_naive", "--context", "8"), "a season of 24 steps needs a context"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...],
    told: str,
) -> None:  # fmt: skip
    assert _run(file, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1


def test_config_refuses_what_means_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        BenchmarkConfig(models=[])
    with pytest.raises(ValueError, match="parts is empty"):
        BenchmarkConfig(parts=[])
