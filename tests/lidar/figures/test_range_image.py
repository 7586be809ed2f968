import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import ForecastFrame, range_images
from lidar.figures.range_image import elevation_span


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


def test_span_ignores_nan() -> None:
    cloud = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [np.nan] * 3])
    np.testing.assert_allclose(elevation_span([cloud]), (-45, 45), atol=0.2)
