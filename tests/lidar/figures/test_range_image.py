import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import ForecastFrame, range_images
from lidar.figures.range_image import SphericalView


def test_images_are_written_and_repeat(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    first = range_images(tmp_path / "a.png", frames, who="trend")
    second = range_images(tmp_path / "b.png", frames, who="trend")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (2100, 1024)


def test_nan_in_truth_and_prediction(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    true_m, predicted = frames[0].true_m.copy(), frames[0].predicted_m["trend"].copy()
    true_m[::5] = np.nan
    predicted[::3] = np.nan
    gaps = dataclasses.replace(frames[0], true_m=true_m, predicted_m={"trend": predicted})
    assert range_images(tmp_path / "a.png", [gaps], who="trend").stat().st_size > 0


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^range_images: there is no frame to draw$"):
        range_images(tmp_path / "a.png", [], who="trend")


def rings(elevation_deg: np.ndarray) -> np.ndarray:
    """Points of a sensor with such rings, and one NaN."""
    azimuth, elevation = np.meshgrid(np.linspace(-np.pi, np.pi, 100), np.radians(elevation_deg))
    planar = np.cos(elevation)
    cloud = np.stack(
        [planar * np.cos(azimuth), planar * np.sin(azimuth), np.sin(elevation)], axis=-1
    )
    return np.concatenate([cloud.reshape(-1, 3), np.full((1, 3), np.nan)])


@pytest.mark.parametrize(
    ("elevation_deg", "step_deg"),
    [(np.arange(-24.0, 2.0, 0.4), 0.75), (np.linspace(-30.67, 10.67, 32), 1.35), ([3.0], 0.75)],
)
def test_pixels_are_as_fine_as_the_rings_allow(elevation_deg: np.ndarray, step_deg: float) -> None:
    view = SphericalView.fit([rings(np.asarray(elevation_deg))])
    assert view.bins.elevation_deg == step_deg
    np.testing.assert_allclose(view.elevation_deg, (elevation_deg[0], elevation_deg[-1]))
