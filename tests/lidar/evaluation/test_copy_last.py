from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lidar.evaluation.copy_last import constant_velocity_points, copy_last_variants
from lidar.evaluation.forecast_metrics import ray_metrics
from lidar.geometry.range_view import AngularBins
from lidar.geometry.ray_cast import cast_rays


def test_variants_are_every_bin_size_and_nearest_for_each_source() -> None:
    names = [v.name for v in copy_last_variants([0.2, [0.4, 1.33]], num_sweeps=10)]
    assert names == [
        "copy_last_zbuffer_0.2deg_t0",
        "copy_last_zbuffer_0.4x1.33deg_t0",
        "copy_last_nearest_t0",
        "copy_last_zbuffer_0.2deg_sweeps",
        "copy_last_zbuffer_0.4x1.33deg_sweeps",
        "copy_last_nearest_sweeps",
    ]
    assert all(v.source == "t0" for v in copy_last_variants([0.2], num_sweeps=1))
    with pytest.raises(ValueError, match="azimuth-elevation pairs"):
        copy_last_variants([[0.1, 0.2, 0.3]], num_sweeps=1)


def test_a_ray_takes_the_nearest_of_its_bin_else_of_the_nearest_direction() -> None:
    angles = np.radians([0.2, 0.8, 5.5])
    known = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) * [[20.0], [10.0], [30.0]]
    rays = np.radians([0.1, 4.9, 0.75])
    direction = np.stack([np.cos(rays), np.sin(rays), 0 * rays], 1)
    binned, nearest = cast_rays(known, np.zeros(3), direction, [AngularBins(1.0, 1.0), None])
    # 0.1 deg: bin [0, 1) holds 20 m and 10 m; 4.9 deg: empty bin, 5.5 deg is nearest.
    np.testing.assert_allclose(binned, [10, 30, 10])
    np.testing.assert_allclose(nearest, [20, 30, 10])


def test_the_cloud_is_seen_from_the_future_origin() -> None:
    (ranges,) = cast_rays(
        np.array([[10.0, 0, 0]]), np.array([4.0, 0, 0]), np.array([[1.0, 0, 0]]), [None]
    )
    assert ranges.tolist() == [6.0]


def test_an_empty_cloud_raises_and_no_ray_is_fine() -> None:
    with pytest.raises(ValueError, match="at least one known point"):
        cast_rays(np.zeros((0, 3)), np.zeros(3), np.eye(3), [None])
    (ranges,) = cast_rays(np.ones((1, 3)), np.zeros(3), np.zeros((0, 3)), [AngularBins(1.0, 1.0)])
    assert ranges.shape == (0,)


@pytest.mark.parametrize(("noise_m", "limit_m"), [(0.0, 1e-5), (0.02, 0.03)])
def test_static_world_ego_at_rest_one_bin_per_ray(
    drive: Callable[..., Any], static_scene: Any, noise_m: float, limit_m: float
) -> None:
    window = drive(static_scene, noise_m=noise_m).window()
    for frame in (1, 2):
        for predicted in cast_rays(
            window.t0_points, window.origin[frame], window.direction[frame],
            [AngularBins(1.0, 1.0), None],
        ):  # fmt: skip
            # 1e-5 m: clouds and directions are float32.
            assert ray_metrics(predicted, window.range_m[frame])["l1_m"] <= limit_m


def test_static_world_moving_ego_has_a_small_median(
    drive: Callable[..., Any], static_scene: Any, forward_pose: Callable[..., np.ndarray]
) -> None:
    poses = [forward_pose(0, 0), forward_pose(2.0, 0.05), forward_pose(4.0, 0.1)]
    window = drive(static_scene, step_deg=0.5, noise_m=0.02, poses=poses).window()
    for frame in (1, 2):
        for predicted in cast_rays(
            window.t0_points, window.origin[frame], window.direction[frame],
            [AngularBins(0.35, 0.35), AngularBins(0.5, 0.5), None],
            axes=window.t0_SE3_tn[frame, :3, :3].T,
        ):  # fmt: skip
            median_m = ray_metrics(predicted, window.range_m[frame])["l1_median_m"]
            assert median_m is not None
            assert median_m < 0.1


def test_ego_motion_is_compensated(
    drive: Callable[..., Any], static_scene: Any, forward_pose: Callable[..., np.ndarray]
) -> None:
    poses = [forward_pose(0, 0), forward_pose(2.0, 0.05), forward_pose(4.0, 0.1)]
    poses[2][1, 3] = 3.0
    window = drive(static_scene, poses=poses).window()
    # The flat ground looks the same from everywhere: it cannot tell.
    direction = window.direction[2][~window.is_ground[2]]
    range_m = window.range_m[2][~window.is_ground[2]]
    error_m = [
        np.median(np.abs(cast_rays(window.t0_points, origin, direction, [None])[0] - range_m))
        for origin in (window.origin[2], np.zeros(3))
    ]
    assert error_m[1] > 5 * error_m[0]


def test_constant_velocity_moves_only_points_in_moving_boxes() -> None:
    points = np.array([[5.0, 0, 0], [6.05, 0, 0], [20, 0, 0], [0, 5, 0]])
    boxes = np.array([[5.0, 0, 0, 2, 1, 1, 0], [0, 5, 0, 1, 1, 1, 0]])
    velocity = np.array([[4.0, -2.0], [np.nan, np.nan]])
    moved = constant_velocity_points(points, boxes, velocity, 0.5)
    np.testing.assert_allclose(moved, [[7, -1, 0], [8.05, -1, 0], [20, 0, 0], [0, 5, 0]])
