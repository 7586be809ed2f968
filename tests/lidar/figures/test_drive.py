from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import ForecastFrame, drive_gif


def test_gif_has_a_frame_per_window(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    path = drive_gif(tmp_path / "a.gif", frames, np.array([0.0, 0.25]), who=["trend"])
    with Image.open(path) as image:
        assert image.n_frames == 2
        assert image.info["duration"] == 250
        assert image.info["loop"] == 0
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_gif_shrinks_below_its_limit(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    times = np.array([0.0, 0.1])
    large = drive_gif(tmp_path / "a.gif", frames, times, who=["trend"])
    limit = large.stat().st_size // 2
    small = drive_gif(tmp_path / "b.gif", frames, times, who=["trend"], max_bytes=limit)
    assert small.stat().st_size <= limit
    with Image.open(large) as a, Image.open(small) as b:
        assert b.width < a.width
    with pytest.raises(ValueError, match="2 frames do not fit into max_bytes=100"):
        drive_gif(tmp_path / "c.gif", frames, times, who=["trend"], max_bytes=100)
    assert not (tmp_path / "c.gif").exists()


def test_wrong_input_is_one_line(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    with pytest.raises(ValueError, match="^drive_gif: there is no frame to draw$"):
        drive_gif(tmp_path / "a.gif", [], np.array([]))
    with pytest.raises(ValueError, match="times_s must have 2 entries, got 1"):
        drive_gif(tmp_path / "a.gif", frames, np.array([0.0]))
