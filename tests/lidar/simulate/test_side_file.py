"""The truth beside the points, as it lies on the disk."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lidar.simulate.command import write_scene
from lidar.simulate.config import CLASSES, ActorCounts, SimulateConfig
from lidar.simulate.drive import Drive, build_drive

KEYS = {"actor", "label", "static", "normal", "exact_range_m", "flow_m"}
FIRST = {  # points and truth of the first sweep, by format
    "nuscenes": ("samples/LIDAR_TOP/*.pcd.bin", 5, "truth/LIDAR_TOP/*.npz"),
    "kitti": ("sequences/00/velodyne/*.bin", 4, "sequences/00/truth/*.npz"),
    "folder": ("sim-0000/points/*.bin", 4, "sim-0000/truth/*.npz"),
}


@pytest.fixture(scope="module")
def quiet(tiny: SimulateConfig) -> SimulateConfig:
    """One drive of two sweeps without noise, so that every row can be told from its neighbours."""
    return dataclasses.replace(
        tiny, scenes=1, val_scenes=0, duration_s=0.2, noise_m=0.0, dropout=0.0,
        num_actors=ActorCounts(car=8, pedestrian=8),
    )  # fmt: skip


def first_sweep(
    root: Path, config: SimulateConfig
) -> tuple[Drive, np.ndarray, dict[str, np.ndarray]]:
    """Drive, points in the sensor's axes and side file of a newly written drive's first sweep."""
    write_scene(root, config, 3, 0)
    points, columns, truth = FIRST[config.format]
    rows = np.fromfile(sorted(root.glob(points))[0], "<f4").reshape(-1, columns)
    drive = build_drive(config, 3, 0)
    turn = drive.sensor.flu_R_lidar if config.format == "kitti" else np.eye(3)
    with np.load(sorted(root.glob(truth))[0]) as file:
        side = {name: file[name] for name in file.files}
    for name in {"normal", "flow_m"} & side.keys():
        side[name] = side[name] @ turn
    return drive, rows[:, :3] @ turn, side


@pytest.mark.parametrize("kind", FIRST)
def test_rows_are_those_of_the_points(open3d, quiet, tmp_path, kind) -> None:
    drive, xyz, side = first_sweep(tmp_path, dataclasses.replace(quiet, format=kind))
    assert side.keys() == KEYS
    assert {len(values) for values in side.values()} == {len(xyz)}
    np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), side["exact_range_m"], rtol=1e-5)
    assert np.all((xyz * side["normal"]).sum(1) <= 1e-3 * side["exact_range_m"])
    np.testing.assert_allclose(np.linalg.norm(side["normal"], axis=1), 1.0, atol=2e-3)
    classes = np.array([CLASSES.index(actor.name) for actor in drive.actors] + [-1])
    assert np.array_equal(side["label"], classes[side["actor"]])
    assert (~side["static"]).sum() > 20 and np.all(side["actor"][~side["static"]] >= 0)
    assert np.all((np.abs(side["flow_m"]).max(1) > 0) <= ~side["static"])
    time = np.array([drive.offsets_us[0] * 1e-6])
    world_SE3_sensor = (drive.ego.poses(time) @ drive.sensor.ego_SE3_lidar)[0]
    for number in np.unique(side["actor"][side["actor"] >= 0]):
        actor, hit = drive.actors[number], side["actor"] == number
        now, later = (actor.track.pose(time + delay) for delay in (0.0, 0.1))
        world = xyz[hit] @ world_SE3_sensor[:3, :3].T + world_SE3_sensor[:3, 3]
        reach = np.hypot(*actor.body.size_lwh[:2]) / 2 + 1e-3
        assert np.all(np.linalg.norm((world - now.xyz)[:, :2], axis=1) < reach)
        flow = side["flow_m"][hit] @ world_SE3_sensor[:3, :3].T
        if np.abs(later.yaw - now.yaw) < 1e-6:
            moved = np.broadcast_to((later.xyz - now.xyz)[:, :2], flow[:, :2].shape)
            np.testing.assert_allclose(flow[:, :2], moved, atol=1e-4)


@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.parametrize("truth", [True, False])
def test_point_times_are_kept_with_motion_distortion_alone(
    open3d, quiet, tmp_path, kind, truth
) -> None:
    config = dataclasses.replace(quiet, format=kind, truth=truth, motion_distortion=True)
    drive, xyz, side = first_sweep(tmp_path, config)
    assert side.keys() == (KEYS if truth else set()) | {"point_time_s"}
    columns = drive.sensor.columns
    turned = (np.pi - np.arctan2(xyz[:, 1], xyz[:, 0])) / (
        2 * np.pi
    )  # share of the turn, clockwise
    column = np.floor(turned * columns)
    np.testing.assert_allclose(
        side["point_time_s"], -0.05 * (1 - (column + 1) / columns), atol=1e-6
    )
    assert side["point_time_s"].min() < -0.04 and side["point_time_s"].max() == 0.0


def test_without_truth_and_distortion_there_is_no_side_file(open3d, quiet, tmp_path) -> None:
    write_scene(tmp_path, dataclasses.replace(quiet, truth=False), 3, 0)
    assert list(tmp_path.rglob("*.pcd.bin")) and not list(tmp_path.rglob("*.npz"))
