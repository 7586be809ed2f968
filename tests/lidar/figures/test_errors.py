import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import ForecastFrame, error_histogram, horizon_curves
from lidar.figures.errors import _mean_and_spread, _spaced


def test_histogram_has_a_panel_per_horizon(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    first = error_histogram(tmp_path / "a.png", [*frames, *frames])
    second = error_histogram(tmp_path / "b.png", [*frames, *frames])
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (1350, 592)


def test_histogram_of_no_answers(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    silent = np.full_like(frames[0].true_m, np.nan)
    mute = dataclasses.replace(frames[0], predicted_m={"trend": silent})
    assert error_histogram(tmp_path / "a.png", [mute]).stat().st_size > 0


def test_histogram_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^error_histogram: there is no frame to draw$"):
        error_histogram(tmp_path / "a.png", [])


def test_curves_are_written_and_repeat(tmp_path: Path) -> None:
    horizons = np.array([1.0, 0.5, 2.0])
    curves = {
        "trend": np.array([[0.5, 0.3, 0.9], [0.6, 0.35, np.nan]]),
        "copy_last": np.array([[0.8, 0.5, 1.4]]),
        "never_scored": np.full((1, 3), np.nan),
    }
    first = horizon_curves(tmp_path / "a.png", horizons, curves, trained_to_s=1.0)
    second = horizon_curves(tmp_path / "b.png", horizons, curves, trained_to_s=1.0)
    assert first.read_bytes() == second.read_bytes()


def test_curves_of_nothing_and_of_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^horizon_curves: there is no curve to draw$"):
        horizon_curves(tmp_path / "a.png", np.array([0.5]), {})
    with pytest.raises(ValueError, match=r"l1_m\['trend'\] must be \[runs, 2\].*got \(1, 3\)"):
        horizon_curves(tmp_path / "a.png", np.array([0.5, 1.0]), {"trend": np.ones((1, 3))})


def test_spread_is_the_sample_deviation_over_scored_runs() -> None:
    mean, spread = _mean_and_spread(np.array([[1.0, 4.0, np.nan], [3.0, np.nan, np.nan]]))
    np.testing.assert_allclose(mean, [2.0, 4.0, np.nan])
    np.testing.assert_allclose(spread, [np.sqrt(2.0), 0.0, 0.0])


def test_labels_keep_apart() -> None:
    assert _spaced([1.0, 1.05, 3.0], 0.5) == [1.0, 1.5, 3.0]
    assert _spaced([], 0.5) == []
