"""Copy-last on a recorded drive reproduces the figures published with its definition.

48 sweeps of a 64-ring sensor at 10 Hz; t0 and future sweep both among the last 12; ranges 3-70 m.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lidar.evaluation.copy_last import copy_last_variants
from lidar.evaluation.forecast_metrics import MetricMeans, ray_metrics
from lidar.geometry.ray_cast import cast_rays
from lidar.geometry.se3 import invert, transform_points

NON_GROUND_Z_M = -1.73 + 0.3


@cache
def sweep(folder: Path, i: int) -> np.ndarray:
    """Points of one sweep between 3 and 70 m."""
    with np.load(sorted((folder / "sweeps").glob("*.npz"))[i]) as packed:
        deltas = packed["xyz_mm_delta_bytes"]
        xyz = [np.ascontiguousarray(axis.T).view("<i4")[:, 0] for axis in deltas]
    points = np.cumsum(np.stack(xyz, 1), axis=0, dtype=np.int32) / 1000.0
    range_m = np.linalg.norm(points, axis=1)
    return points[(range_m >= 3) & (range_m < 70)]


def poses(folder: Path) -> np.ndarray:
    """world_SE3_lidar of the 48 sweeps."""
    rows = np.loadtxt(folder / "poses_kiss_icp_kitti_format.txt").reshape(-1, 3, 4)
    first = int(sorted((folder / "sweeps").glob("*.npz"))[0].stem)
    bottom = np.tile([[[0.0, 0, 0, 1]]], (len(rows), 1, 1))
    return np.concatenate([rows, bottom], axis=1)[first:]


def scores(folder: Path, gap: int, wanted: set[str], frames: range) -> dict[str, dict[str, float]]:
    """Means over frames of every wanted variant, all rays and off-ground rays."""
    world_SE3_lidar = poses(folder)
    means: dict[str, MetricMeans] = {}
    for n in frames:
        t0 = n - gap
        t0_SE3_world = invert(world_SE3_lidar[t0])
        t0_SE3_tn = t0_SE3_world @ world_SE3_lidar[n]
        measured = sweep(folder, n)
        range_m = np.linalg.norm(measured, axis=1)
        for variant in copy_last_variants([0.2, 0.35], num_sweeps=6):
            if variant.name not in wanted:
                continue
            earlier = range(t0, t0 - (6 if variant.source == "sweeps" else 1), -1)
            known = np.concatenate(
                [
                    transform_points(t0_SE3_world @ world_SE3_lidar[i], sweep(folder, i))
                    for i in earlier
                ]
            )
            (predicted,) = cast_rays(
                known, t0_SE3_tn[:3, 3], (measured / range_m[:, None]) @ t0_SE3_tn[:3, :3].T,
                [variant.bins], axes=t0_SE3_tn[:3, :3].T,
            )  # fmt: skip
            off_ground = measured[:, 2] > NON_GROUND_Z_M
            for rays, mask in (("", slice(None)), ("_nonground", off_ground)):
                means.setdefault(variant.name + rays, MetricMeans()).add(
                    ray_metrics(predicted[mask], range_m[mask])
                )
    return {name: mean.means() for name, mean in means.items()}


def test_half_a_second_ahead_the_winner_depends_on_the_metric(test_data: Path) -> None:
    folder = test_data / "lidar" / "kitti_raw_seq"
    published = {
        "copy_last_zbuffer_0.35deg_t0": (0.97, 0.090),
        "copy_last_nearest_t0": (1.08, 0.083),
        "copy_last_zbuffer_0.2deg_sweeps": (1.03, 0.074),
    }
    measured = scores(folder, 5, set(published), range(41, 48, 2))
    for name, (mean_m, median_m) in published.items():
        assert measured[name]["l1_m"] == pytest.approx(mean_m, rel=0.06)
        assert measured[name]["l1_median_m"] == pytest.approx(median_m, rel=0.06)


@pytest.mark.parametrize(("gap", "all_m", "nonground_m"), [(3, 0.87, 1.23), (10, 1.36, 1.89)])
def test_error_grows_with_the_horizon(
    test_data: Path, gap: int, all_m: float, nonground_m: float
) -> None:
    name = "copy_last_zbuffer_0.35deg_t0"
    folder = test_data / "lidar" / "kitti_raw_seq"
    measured = scores(folder, gap, {name}, range(36, 48, 2))
    assert measured[name]["l1_m"] == pytest.approx(all_m, rel=0.06)
    assert measured[f"{name}_nonground"]["l1_m"] == pytest.approx(nonground_m, rel=0.06)


def test_a_z_buffer_is_off_by_a_third_of_a_metre_on_the_identical_sweep(test_data: Path) -> None:
    name = "copy_last_zbuffer_0.35deg_t0"
    measured = scores(test_data / "lidar" / "kitti_raw_seq", 0, {name}, range(36, 48, 3))
    assert 0.33 <= measured[name]["l1_m"] <= 0.37
