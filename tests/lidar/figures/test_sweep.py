import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar.data.structures import Boxes, SensorSpec, Sweep
from lidar.figures import sweep_gif, sweep_view
from lidar.figures.sweep import _outlines


def test_view_is_written_and_repeats(
    tmp_path: Path, sweep: Sweep, sensor: SensorSpec, boxes: Boxes
) -> None:
    first = sweep_view(tmp_path / "a.png", sweep, sensor, boxes=boxes, title="room")
    second = sweep_view(tmp_path / "b.png", sweep, sensor, boxes=boxes, title="room")
    bare = sweep_view(tmp_path / "c.png", sweep, sensor, title="room")
    assert first.read_bytes() == second.read_bytes() != bare.read_bytes()
    with Image.open(first) as image:
        assert image.size == (1520, 1632)


def test_nan_points_are_left_out_and_no_point_is_an_error(
    tmp_path: Path, sweep: Sweep, sensor: SensorSpec
) -> None:
    points = sweep.points.copy()
    points[::2] = np.nan
    assert sweep_view(tmp_path / "a.png", dataclasses.replace(sweep, points=points), sensor)
    empty = dataclasses.replace(sweep, points=sweep.points[:0])
    with pytest.raises(ValueError, match="sweep at 0 ns has no finite point to draw"):
        sweep_view(tmp_path / "b.png", empty, sensor)


def test_gif_runs_at_the_pace_of_the_drive(
    tmp_path: Path, sweep: Sweep, sensor: SensorSpec, boxes: Boxes
) -> None:
    sweeps = [dataclasses.replace(sweep, timestamp_ns=n * 200_000_000) for n in range(2)]
    path = sweep_gif(tmp_path / "a.gif", sweeps, sensor, boxes=[boxes, None], titles=["one", "two"])
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"]) == (2, 200)
    with pytest.raises(ValueError, match="^sweep_gif: there is no sweep to draw$"):
        sweep_gif(path, [], sensor)


def test_outline_of_a_box_that_looks_left() -> None:
    outline = _outlines(np.array([[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2]]))[0]
    np.testing.assert_allclose(outline[0], [9.0, 2.0])  # front left corner
    np.testing.assert_allclose(outline[0], outline[4])
    np.testing.assert_allclose(outline[5:], [[10.0, 2.0], [10.0, 0.0]], atol=1e-12)
