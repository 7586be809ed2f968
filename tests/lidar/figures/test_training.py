from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import training_curves
from lidar.figures.training import _is_loss, _label, read_curves, running_median

NAMES = (
    "train/loss", "train/t0_range_l1", "train/tm_range_l1", "train/t0_eikonal",
    "lr-AdamW/pg1", "lr-AdamW/pg2", "train/inv_s", "train/valid_rays", "val/loss",
)  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """300 steps and one validation."""
    lines = [",".join(("step", "epoch", *NAMES))]
    for n in range(300):
        rate = 2e-4 - n * 1e-7
        lines.append(f"{n},0,{3 / (n + 1)},{2 / (n + 1)},{1 / (n + 1)},0,{rate},{rate},20,5,")
    lines.append("299,0,,,,,,,,,0.5")
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_curves_are_written_and_repeat(tmp_path: Path, history: Path) -> None:
    first = training_curves(tmp_path / "a.png", history)
    second = training_curves(tmp_path / "b.png", history)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.height == 1010  # three panels


def test_columns_are_read_without_empty_cells_and_repeats(history: Path) -> None:
    curves = read_curves(history)
    assert set(curves) == set(NAMES) - {"lr-AdamW/pg2"}
    np.testing.assert_array_equal(curves["val/loss"], [[299.0], [0.5]])
    assert len(curves["train/loss"][0]) == 300


def test_nan_cells_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n0,nan\n1,2.0\n")
    np.testing.assert_array_equal(read_curves(path)["train/loss"], [[1.0], [2.0]])
    assert training_curves(tmp_path / "a.png", path).stat().st_size > 0


@pytest.mark.parametrize("text", ["", "step,epoch\n", "epoch,train/loss\n0,1.0\n"])
def test_history_without_steps_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"metrics.csv has no row with a step to draw"):
        training_curves(tmp_path / "a.png", path)


def test_history_without_known_columns_names_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/valid_rays\n0,5\n")
    with pytest.raises(ValueError, match="no loss, lr or z to draw: .* are train/valid_rays"):
        training_curves(tmp_path / "a.png", path)


def test_running_median_keeps_short_curves_and_smooths_long_ones() -> None:
    short = np.array([3.0, 1.0, 2.0])
    assert running_median(short) is short
    long = np.zeros(300)
    long[150] = 9.0
    assert running_median(long).max() == 0.0


def test_terms_that_are_switched_off_are_no_loss_curves(history: Path) -> None:
    losses = {name for name, curve in read_curves(history).items() if _is_loss(name, curve)}
    assert losses == {"train/loss", "train/t0_range_l1", "train/tm_range_l1", "val/loss"}


def test_labels_name_term_and_frame() -> None:
    assert _label("train/tm_range_l1") == "range L1, tm"
    assert _label("train/t0_free_space") == "free space, t0"
    assert (_label("train/loss"), _label("val/loss")) == ("loss", "loss, val")
