import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.figures import ForecastFrame, bev_comparison
from lidar.figures.bev import common_extent, splat


def test_comparison_is_written_and_repeats_byte_for_byte(
    tmp_path: Path, frames: list[ForecastFrame]
) -> None:
    first = bev_comparison(tmp_path / "new" / "a.png", frames, title="room")
    second = bev_comparison(tmp_path / "b.png", frames, title="room")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        # 0.36 + 2 x 2.55 + 0.08 + 0.78 inches wide; three rows, margins and a title high.
        assert image.size == (1264, 1710)
        assert "Software" not in image.info
    assert not list(first.parent.glob(".*"))


def test_no_pyplot_is_loaded(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    before = "matplotlib.pyplot" in sys.modules
    bev_comparison(tmp_path / "a.png", frames, colour="height")
    if before:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
    else:
        assert "matplotlib.pyplot" not in sys.modules


def test_rays_without_answer_are_left_out(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    silent = np.full_like(frames[0].true_m, np.nan)
    partly = frames[0].predicted_m["trend"].copy()
    partly[::3] = np.nan
    gaps = dataclasses.replace(frames[0], predicted_m={"trend": partly, "copy_last": silent})
    assert bev_comparison(tmp_path / "a.png", [gaps]).stat().st_size > 0


def test_chosen_rows_and_unknown_who(tmp_path: Path, frames: list[ForecastFrame]) -> None:
    with Image.open(bev_comparison(tmp_path / "a.png", frames, who=["trend"])) as image:
        assert image.size == (1264, 1128)
    with pytest.raises(ValueError, match="no forecast by 'trned'"):
        bev_comparison(tmp_path / "b.png", frames, who=["trned"])
    assert not (tmp_path / "b.png").exists()


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no frame to draw"):
        bev_comparison(tmp_path / "a.png", [])


def test_splat_puts_points_where_they_are_and_later_ones_on_top() -> None:
    position = np.array([[0.05, 0.05], [0.55, 0.95], [0.55, 0.95], [1.0, 0.5], [-0.1, 0.5]])
    colour = np.array([[9, 9, 9], [1, 1, 1], [7, 7, 7], [0, 0, 0], [0, 0, 0]], np.uint8)
    image = splat(position, colour, shape=(10, 10), size_px=1.0, supersample=1)
    assert image[0, 0].tolist() == [9, 9, 9]
    assert image[5, 9].tolist() == [7, 7, 7]
    assert (image < 255).all(axis=2).sum() == 2


def test_splat_smooths_edges() -> None:
    colour = np.zeros((1, 3), np.uint8)
    image = splat(np.array([[0.5, 0.5]]), colour, shape=(9, 9), size_px=1.6)
    assert image[4, 4].max() < 100
    assert len(np.unique(image)) > 2


def test_extent_is_square_and_in_whole_five_metres() -> None:
    cloud = np.array([[12.0, 1.0, 0.0], [0.0, -13.0, 0.0], [np.nan] * 3])
    assert common_extent([cloud], share=1.0) == (-15.0, -15.0, 15.0, 15.0)
    assert common_extent([np.zeros((1, 3))]) == (-5.0, -5.0, 5.0, 5.0)
