"""The series benchmark at tiny sizes prints every row, and peers and ours compute the same."""

import importlib
import re

import numpy as np
import pytest
import torch


@pytest.fixture
def s2ip(bench):
    return importlib.import_module("forecast_s2ip")


@pytest.fixture
def series(bench):
    return importlib.import_module("forecast_series")


def test_a_smoke_run_has_all_rows_and_writes_its_page(bench, tmp_path):
    page = tmp_path / "results" / "forecast_bench.md"
    printed = bench(
        "forecast_bench.py", "--smoke", "--turns", "1", "--largest", "5", "--out", str(page)
    )
    written = page.read_text()
    rows = re.findall(r"(?m)^\| .*\|$", written)
    assert all(row in printed for row in rows)
    for what in (
        "896 series", "forecast of 1 window", "forecast of 4 windows", "training step of 1 window",
        "training step of 5 windows", "linear", "table", "60 series", "4 cutoffs", "32 -> 8",
        "361 windows of 32 + 8, 7 channels, as released loaders",
    ):  # fmt: skip
        assert any(row.startswith(f"| {what} |") for row in rows), what
    assert written.count("| anchor map |") == 4 and written.count("random walks") >= 2
    assert "missed" not in written and "1 turns after a warm-up" in written


def test_one_part_of_a_file(bench, tmp_path):
    table = np.random.default_rng(0).normal(size=(1000, 2)).cumsum(0)
    path = tmp_path / "own.csv"
    hours = np.arange("2024-01-01", 1000, dtype="datetime64[h]")
    lines = [f"{at},{a},{b}" for at, (a, b) in zip(hours, table, strict=True)]
    path.write_text("\n".join(["date,a,b", *lines]) + "\n")
    printed = bench("forecast_bench.py", "--smoke", "--turns", "1", "--only", "ridge",
                    "--data", str(path))  # fmt: skip
    assert "of own, 700 training rows" in printed and "## Backtest" not in printed


def test_twins_stay_twins_after_a_step(s2ip):
    """One Adam step of either from equal weights moves what both have alike."""
    twins = s2ip.Twins(s2ip.SMALL)
    twins.train(False)
    before = [own.detach().clone() for own, _ in twins.shared]
    x, y = twins.shape.windows(3)
    twins.step(x, y)
    twins.own_step(x, y)
    for (own, other), old in zip(twins.shared, before, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0.02 * s2ip.RATE)
        assert not torch.equal(own, old)


def test_stacked_windows_give_the_ridge(series):
    values = np.random.default_rng(0).normal(size=(300, 2)).cumsum(0)
    ours = series.Ridge(20, 5).fit(values).weight.numpy()
    np.testing.assert_allclose(series.stacked_ridge(values, 20, 5), ours, atol=1e-6)


def test_other_results_are_refused(bench, series):
    timing = importlib.import_module("timing")
    assert timing.held(1e-9, 1e-6) == "1.0e-09"
    for wrong in (1e-3, float("nan")):
        with pytest.raises(AssertionError, match="peer and ours differ"):
            timing.held(wrong, 1e-6)
    values = np.arange(400.0)[:, None]
    items = series.Items(values, 8, 4)
    windows = series.Windows(torch.from_numpy(values + 1).float(), range(8, 397), 8, 4)
    with pytest.raises(AssertionError, match="other values"):
        series._check_loader(items, windows)
