"""T4: poses, origins and actions of an augmented window equal those of a transformed world."""

import numpy as np
import pytest

from lidar.config import AugConfig, RaysConfig
from lidar.data.augment import augment_poses, draw_transform
from lidar.data.kitti import SENSOR
from lidar.data.nuscenes import SENSOR as NUSCENES
from lidar.data.ray_selection import select_rays
from lidar.data.window_dataset import actions_between
from lidar.geometry.se3 import compose_actions, transform_points, yaw_matrix

RANGE = [-100.0, -100.0, -100.0, 100.0, 100.0, 100.0]
TRANSFORMS = {
    "mirror y": np.diag([1.0, -1.0, 1.0]),
    "mirror x": np.diag([-1.0, 1.0, 1.0]),
    "turn": yaw_matrix(0.6),
    "scale": 1.05 * np.eye(3),
    "all": 0.95 * yaw_matrix(-0.4) @ np.diag([1.0, -1.0, 1.0]),
}
ACTIONS = np.array([[2.0, 0.3, 0.2], [1.5, -0.2, -0.1]])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_poses_and_rays_equal_those_of_the_transformed_world(name):
    transform = TRANSFORMS[name]
    poses = compose_actions(ACTIONS)
    augmented = augment_poses(transform, poses)
    rotation = augmented[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, 1, 2), np.tile(np.eye(3), (3, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    # A sensor at the transformed pose sees the transformed world: S T p = (S T S^-1) (S p).
    xyz = np.random.default_rng(0).uniform(-30, 30, (50, 3)).astype(np.float32)
    world = transform_points(poses[2], xyz) @ transform.T
    own = (xyz @ transform.T).astype(np.float32)
    config = RaysConfig(n=50, ground_filter=False)
    common = {
        "up": np.array([0.0, 0.0, 1.0]),
        "sensor": SENSOR,
        "config": config,
        "point_range": RANGE,
    }
    values = np.zeros(50, np.float32)
    rng = np.random.default_rng
    ours = select_rays(xyz, values, poses[2], augmentation=transform, rng=rng(0), **common)
    oracle = select_rays(own, values, augmented[2], rng=rng(0), **common)
    for field in ("origin", "direction", "range_m"):
        np.testing.assert_allclose(getattr(ours, field), getattr(oracle, field), atol=1e-4)
    hits = ours.origin + ours.range_m[:, None] * ours.direction
    np.testing.assert_allclose(hits, world, atol=1e-4)


@pytest.mark.parametrize(("sensor", "mirror"), [(SENSOR, "mirror y"), (NUSCENES, "mirror x")])
def test_a_left_right_mirror_flips_dy_and_dtheta_by_itself(sensor, mirror):
    flu_SE3_lidar = np.eye(4)
    flu_SE3_lidar[:3, :3] = sensor.flu_R_lidar
    poses = np.linalg.inv(flu_SE3_lidar) @ compose_actions(ACTIONS) @ flu_SE3_lidar
    np.testing.assert_allclose(actions_between(poses, sensor), ACTIONS, atol=1e-6)
    mirrored = actions_between(augment_poses(TRANSFORMS[mirror], poses), sensor)
    np.testing.assert_allclose(mirrored, ACTIONS * [1, -1, -1], atol=1e-6)


def test_a_turned_frame_turns_the_displacement_and_scale_scales_it():
    """dx, dy stay along the axes of the volume, in which the ego now drives obliquely."""
    poses = compose_actions(ACTIONS)
    turned = actions_between(augment_poses(TRANSFORMS["turn"], poses), SENSOR)
    expected = np.column_stack([ACTIONS[:, :2] @ TRANSFORMS["turn"][:2, :2].T, ACTIONS[:, 2]])
    np.testing.assert_allclose(turned, expected, atol=1e-6)
    scaled = actions_between(augment_poses(TRANSFORMS["scale"], poses), SENSOR)
    np.testing.assert_allclose(scaled, ACTIONS * [1.05, 1.05, 1], atol=1e-6)


def test_draws_stay_in_their_bounds_and_default_to_the_identity():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(draw_transform(AugConfig(), rng), np.eye(3))
    config = AugConfig(flip_x=True, flip_y=True, rotation_rad=0.3, scale=0.05)
    drawn = [draw_transform(config, rng) for _ in range(200)]
    scales = np.cbrt(np.abs([np.linalg.det(s) for s in drawn]))
    assert 0.95 <= scales.min() and scales.max() <= 1.05
    mirrored = [np.linalg.det(s) < 0 for s in drawn]
    assert 60 < sum(mirrored) < 140
    yaws = [np.arctan2(s[1, 0], s[0, 0]) for s, m in zip(drawn, mirrored, strict=True) if not m]
    assert np.abs(np.sin(yaws)).max() <= np.sin(0.3) + 1e-9
