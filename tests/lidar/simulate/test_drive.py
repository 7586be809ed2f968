import dataclasses

import numpy as np
import pytest

from lidar.simulate.collisions import overlapping
from lidar.simulate.config import CLASSES, ActorCounts, SimulateConfig
from lidar.simulate.drive import build_drive, sweeps, visibility_level
from lidar.simulate.ego import EGO_LENGTH_M, EGO_WIDTH_M, REAR_AXLE_M


@pytest.fixture(scope="module")
def drive():
    return build_drive(SimulateConfig(duration_s=8.0, scenes=5), 0, 0)


def test_all_classes_are_there_and_many_move(drive) -> None:
    assert {actor.name for actor in drive.actors} == set(CLASSES)
    times = np.arange(0.0, 8.0, 0.5)
    speed = [np.linalg.norm(a.track.pose(times).velocity, axis=1).max() for a in drive.actors]
    assert sum(s > 0.5 for s in speed) > 15
    ego = drive.ego.poses(times)[:, :3, 3]
    assert np.linalg.norm(ego[-1] - ego[0]) > 20.0


@pytest.mark.parametrize("scene", [1, 3])
def test_nobody_collides(scene: int) -> None:
    drive = build_drive(SimulateConfig(duration_s=8.0), 1, scene)
    times = np.arange(0.0, 8.0, 0.1)
    poses = [actor.track.pose(times) for actor in drive.actors]
    xy = np.stack([pose.xyz[:, :2] for pose in poses], axis=1)
    yaw = np.stack([pose.yaw for pose in poses], axis=1)
    ego = drive.ego.poses(times)
    ego_xy = ego[:, :2, 3] + REAR_AXLE_M * ego[:, :2, 0]
    xy = np.concatenate([ego_xy[:, None], xy], axis=1)
    ego_yaw = np.arctan2(ego[:, 1, 0], ego[:, 0, 0])
    yaw = np.concatenate([ego_yaw[:, None], yaw], axis=1)
    size = np.array([(EGO_LENGTH_M, EGO_WIDTH_M), *(a.body.size_lwh[:2] for a in drive.actors)])
    assert not overlapping(xy, yaw, size).any()


def test_heading_follows_velocity_and_speed_is_plausible(drive) -> None:
    times = np.arange(0.0, 7.0, 0.05)
    h = 1e-3
    for actor in drive.actors:
        now, later = actor.track.pose(times), actor.track.pose(times + h)
        numeric = (later.xyz - now.xyz)[:, :2] / h
        np.testing.assert_allclose(numeric, now.velocity, atol=0.05)
        speed = np.linalg.norm(now.velocity, axis=1)
        assert speed.max() < 15.0
        fast = speed > 0.3
        heading = np.stack([np.cos(now.yaw), np.sin(now.yaw)], axis=1)
        assert np.all((heading * now.velocity).sum(1)[fast] > 0.99 * speed[fast])


def test_ego_frame_is_right_handed_and_a_unicycle(drive) -> None:
    times = np.arange(0.0, 8.0, 0.1)
    poses = drive.ego.poses(times)
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1.0)
    step = np.diff(poses[:, :3, 3], axis=0)
    fast = np.linalg.norm(step, axis=1) > 0.05
    sideways = (step * poses[:-1, :3, 1]).sum(1) / np.linalg.norm(step, axis=1).clip(1e-6)
    assert np.abs(sideways[fast]).max() < 0.06


def test_flow_moves_points_with_their_actor(open3d, tiny) -> None:
    config = dataclasses.replace(tiny, noise_m=0.0, dropout=0.0)
    drive = build_drive(config, 0, 0)
    sweep = next(iter(sweeps(config, drive, 0, 0)))
    truth = sweep.truth
    assert (~truth.static).sum() > 20
    assert np.all(truth.flow_m[truth.static] == 0)
    assert np.all(truth.actor[~truth.static] >= 0)
    mount = sweep.world_SE3_ego @ drive.sensor.ego_SE3_lidar
    time = np.array([drive.offsets_us[0] * 1e-6])
    for number in np.unique(truth.actor[~truth.static]):
        velocity = drive.actors[number].track.pose(time).velocity[0]
        flow = truth.flow_m[truth.actor == number] @ mount[:3, :3].T
        np.testing.assert_allclose(flow[:, :2].mean(0) * config.sweep_hz, velocity, atol=0.35)
    np.testing.assert_allclose(np.linalg.norm(sweep.xyz, axis=1), truth.exact_range_m, rtol=1e-5)


@pytest.mark.parametrize("change", [{"motion_distortion": True}, {"own_car": True}])
def test_switches_change_what_they_name(open3d, tiny, change) -> None:
    config = dataclasses.replace(tiny, num_actors=ActorCounts(car=4, pedestrian=2), **change)
    drive = build_drive(config, 0, 0)
    sweep = next(iter(sweeps(config, drive, 0, 0)))
    distorted = "motion_distortion" in change
    assert (sweep.point_time_s.min() < -0.04) == distorted
    assert (sweep.truth.actor == -2).any() == (not distorted)


def test_visibility_levels_begin_at_their_share() -> None:
    seen = np.array([0, 39, 40, 59, 60, 79, 80, 100, 0])
    alone = np.array([100, 100, 100, 100, 100, 100, 100, 100, 0])
    assert visibility_level(seen, alone).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 1]


def test_wrong_configurations_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="v1.0-mini holds at most 8"):
        SimulateConfig(scenes=12)
    with pytest.raises(ValueError, match="val_scenes"):
        SimulateConfig(scenes=1, val_scenes=2)
    with pytest.raises(ValueError, match="num_actors.car"):
        ActorCounts(car=-1)
