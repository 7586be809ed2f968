from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foretell.config import RunOptions
from foretell.errors import UserError
from lidar.config import DataConfig, ViewConfig
from lidar.view import check_display, run


@pytest.fixture
def drive(tmp_path: Path) -> DataConfig:
    """Four sweeps in KITTI's layout."""
    folder = tmp_path / "data" / "sequences" / "07"
    (folder / "velodyne").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(4):
        xyz = rng.uniform([-20, -20, -1.7], [20, 20, 1], (500, 3))
        points = np.column_stack([xyz, rng.uniform(0, 1, 500)]).astype("<f4")
        (folder / "velodyne" / f"{n:06d}.bin").write_bytes(points.tobytes())
    poses = [f"1 0 0 {n} 0 1 0 0 0 0 1 0" for n in range(4)]
    (folder / "poses.txt").write_text("\n".join(poses) + "\n")
    (folder / "calib.txt").write_text("Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    (folder / "times.txt").write_text("0.0\n0.1\n0.2\n0.3\n")
    return DataConfig(kind="kitti", root=str(tmp_path / "data"))


def test_pictures_and_a_gif(tmp_path: Path, drive: DataConfig) -> None:
    out = tmp_path / "run"
    config = ViewConfig(data=drive, log="07[1:4]", count=2, accumulate=2)
    run(config, RunOptions(out=str(out)))
    names = sorted(path.name for path in (out / "figures").iterdir())
    assert names == ["07_000001-000002.gif", "07_000001.png", "07_000002.png"]
    assert (out / "config.yaml").is_file()
    with Image.open(out / "figures" / names[0]) as image:
        assert (image.n_frames, image.info["duration"]) == (2, 100)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sweep": 3, "count": 2}, "log '07' has 4 sweeps.*--sweep 3 --count 2"),
        ({"count": 0}, "--count must be at least 1, got 0"),
        ({"sweep": -1}, "--sweep must be at least 0, got -1"),
        ({"log": "08"}, "08"),
    ],
)
def test_wrong_choices_are_one_line(
    tmp_path: Path, drive: DataConfig, wrong: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(ViewConfig(data=drive, **wrong), RunOptions(out=str(tmp_path / "run")))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems always have a display")
def test_a_window_needs_a_display(
    tmp_path: Path, drive: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="--window true needs a display"):
        run(ViewConfig(data=drive, window=True), RunOptions(out=str(tmp_path / "run")))
    monkeypatch.setenv("DISPLAY", ":0")
    check_display()


def test_geometries_of_the_window() -> None:
    open3d = pytest.importorskip("open3d")
    from lidar.data.structures import Boxes, Sweep
    from lidar.view import _geometries

    sweep = Sweep(
        points=np.array([[1, 2, 0], [3, 4, 1], [np.nan, 0, 0]], np.float32),
        columns=("x", "y", "z"),
        timestamp_ns=0,
        global_SE3_lidar=np.eye(4),
    )
    boxes = Boxes(
        boxes=np.array([[5.0, 0, 0, 4, 2, 1.5, np.pi / 2]]),
        velocity_mps=np.zeros((1, 2)),
        category=("car",),
        track_id=("1",),
        num_points=np.array([3]),
    )
    cloud, _axes, box = _geometries(open3d, sweep, boxes)
    assert len(cloud.points) == 2
    corners = np.asarray(box.get_box_points())
    np.testing.assert_allclose(corners.min(axis=0), [4, -2, -0.75])
    np.testing.assert_allclose(corners.max(axis=0), [6, 2, 0.75])
