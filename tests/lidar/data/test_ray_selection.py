"""T3 (rays of a moving ego hit the same planes), T18 (degenerate clouds), filters and samplers."""

import json

import numpy as np
import pytest
import torch

from lidar.config import MaskConfig, RaysConfig
from lidar.data.kitti import SENSOR as KITTI
from lidar.data.masking import mask_points
from lidar.data.nuscenes import SENSOR as NUSCENES
from lidar.data.ray_selection import height_above_ground, select_rays
from lidar.geometry.se3 import invert, se3, transform_points, yaw_matrix
from lidar.geometry.voxel_grid import VoxelGrid

RANGE = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]


def select(xyz, pose=None, *, sensor=KITTI, seed=0, **options):
    rays = {k: v for k, v in options.items() if k in RaysConfig.__dataclass_fields__}
    others = {k: v for k, v in options.items() if k not in rays}
    xyz = np.asarray(xyz, np.float32).reshape(-1, 3)
    return select_rays(
        xyz,
        np.linspace(0, 1, len(xyz), dtype=np.float32),
        np.eye(4) if pose is None else pose,
        up=others.pop("up", np.array([0.0, 0.0, 1.0])),
        sensor=sensor,
        config=RaysConfig(**{"n": 16, **rays}),
        point_range=RANGE,
        rng=np.random.default_rng(seed),
        **others,
    )


def hits(rays):
    points = rays.origin + rays.range_m[:, None] * rays.direction
    return points[rays.valid]


def test_static_planes_stay_where_they_are_while_the_ego_moves():
    """T3: a wall at x = 30 and one at y = -12 of the t0 frame, seen from two later poses."""
    rng = np.random.default_rng(0)
    across, up = rng.uniform(-10, 10, 400), rng.uniform(-1, 2, 400)
    ahead = np.stack([np.full(400, 30.0), across, up], 1)
    right = np.stack([across, np.full(400, -12.0), up], 1)
    walls = np.concatenate([ahead, right])
    for yaw, x, y in ((0.3, 4.0, 0.5), (-0.7, 9.0, -2.0)):
        pose = se3(yaw_matrix(yaw), np.array([x, y, 0.1]))
        seen = transform_points(invert(pose), walls)
        rays = select(seen, pose, n=1000)
        assert rays.valid.sum() == 800
        np.testing.assert_allclose(rays.origin[0], [x, y, 0.1], atol=1e-6)
        points = hits(rays)
        off = np.minimum(np.abs(points[:, 0] - 30), np.abs(points[:, 1] + 12))
        assert off.max() < 1e-4
        np.testing.assert_allclose(np.linalg.norm(rays.direction, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("sampler", ["uniform", "fps"])
@pytest.mark.parametrize(
    ("xyz", "expected"),
    [
        (np.zeros((0, 3)), 0),
        (np.full((5, 3), 500.0), 0),
        ([[10.0, 0, 0]], 1),
        (np.zeros((4, 3)), 0),
    ],
    ids=["empty", "outside", "one", "at the sensor"],
)
def test_degenerate_clouds_are_finite_and_counted(xyz, expected, sampler):
    """T18."""
    rays = select(xyz, sampler=sampler, min_range=0.0)
    assert rays.valid.sum() == expected and rays.kept["filled"] == expected / 16
    for array in (rays.origin, rays.direction, rays.range_m, rays.intensity):
        assert np.isfinite(array).all() and len(array) == 16
    assert all(0 <= share <= 1 for share in rays.kept.values())


def test_too_few_points_are_padded_and_never_repeated():
    xyz = np.stack([np.arange(5.0) + 5, np.zeros(5), np.zeros(5)], 1)
    rays = select(xyz)
    np.testing.assert_array_equal(rays.valid, np.arange(16) < 5)
    np.testing.assert_allclose(rays.range_m[:5], xyz[:, 0])
    np.testing.assert_allclose(rays.intensity[:5], np.linspace(0, 1, 5))


def test_each_filter_reports_what_it_kept():
    xyz = [[0.5, 0, 0], [10, 0, 0], [10, 1, -1.5], [10, 2, -1.42], [60, 0, 0], [0.9, 2, 0]]
    rays = select(xyz, ego_box=[-1.0, 1.0, -3.0, 3.0])
    assert rays.kept == {
        "min_range": 5 / 6,
        "ego_box": 4 / 5,
        "ground": 3 / 4,  # -1.73 + 0.3 = -1.43 m is the limit
        "inside_volume": 2 / 3,
        "sampled": 1.0,
        "filled": 2 / 16,
    }
    everything = select(xyz, min_range=0.1, ground_filter=False, inside_volume_only=False)
    assert everything.valid.sum() == 6 and "ground" not in everything.kept


def test_ground_filter_uses_the_vehicle_frame_and_the_given_height():
    upright = np.array([0.0, 1.0, 0.0])  # the LiDAR's y axis points up
    assert select([[10, -1.6, 0.5], [10, 0.5, -1.6]], up=upright).valid.sum() == 1
    pitched = np.array([-np.sin(0.03), 0.0, np.cos(0.03)])  # ground ahead appears 1.5 m higher
    assert select([[50, 0, -0.23], [50, 0, 0.5]], up=pitched).valid.sum() == 1
    assert select([[10, 0, -1.5]], sensor_height_m=2.0).valid.sum() == 1
    assert select([[10, 0, -1.5]], z_thd=0.1).valid.sum() == 1
    assert select([[5, 5, -1.5], [5, 5, -1.6]], sensor=NUSCENES).valid.sum() == 1  # 1.84 - 0.3


def test_ground_filter_drops_the_ground_of_a_real_sweep(kitti_drive):
    """The mode of z near the car is the ground, at the sensor's height, and it goes."""
    from lidar.config import DataConfig
    from lidar.data.index import open_dataset

    log = open_dataset(DataConfig(kind="kitti", root=str(kitti_drive))).log("00")
    xyz = log.sweep(0).points[:, :3]
    near = xyz[np.hypot(xyz[:, 0], xyz[:, 1]) < 15]
    counts, edges = np.histogram(near[:, 2], 60, (-3, 0))
    assert edges[counts.argmax()] + 0.025 == pytest.approx(-KITTI.height_m, abs=0.1)
    kept = select(xyz, n=4096).kept["ground"]
    assert 0.3 < kept < 0.6


def test_only_masked_targets():
    grid = VoxelGrid(RANGE, [0.2, 0.2, 0.2])
    xyz = np.random.default_rng(0).uniform([-20, -20, -1, 0], [20, 20, 2, 1], (500, 4))
    points = torch.from_numpy(xyz.astype(np.float32))
    generator = torch.Generator().manual_seed(0)
    result = mask_points(points, grid, MaskConfig("block8", 0.5), generator)
    rays = select(xyz[:, :3], only_masked=True, mask=result.mask, n=1000)
    far = np.linalg.norm(xyz[:, :3], axis=1) >= 1.0
    assert rays.valid.sum() == (result.mask.covers(points).numpy() & far).sum()


def test_ground_of_a_real_nuscenes_sweep_lies_at_the_sensor_height(test_data):
    """Only in the vehicle's axes: this LiDAR is pitched by 1.4 degrees."""
    from lidar.data.nuscenes import read_points

    folder = test_data / "lidar" / "nuscenes"
    path = next((folder / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))
    info = json.loads((folder / "mmdet3d_info_ca9a282c.json").read_text())["data_list"][0]
    xyz = read_points(path)[:, :3]
    up = np.array(info["lidar_points"]["lidar2ego"])[2, :3]
    height = height_above_ground(xyz, up, NUSCENES, RaysConfig())
    near = (np.abs(xyz[:, 0]) < 4) & (np.abs(xyz[:, 1]) > 3) & (np.abs(xyz[:, 1]) < 20)
    road = near & (np.abs(height) < 0.5)
    assert np.median(height[road]) == pytest.approx(0.0, abs=0.1)
    slope, level = (np.polyfit(xyz[road, 1], values[road], 1)[0] for values in (xyz[:, 2], height))
    assert abs(level) < 0.5 * abs(slope)


@pytest.mark.parametrize("sampler", ["uniform", "fps"])
def test_samples_are_distinct_keyed_and_complete(sampler):
    xyz = np.random.default_rng(1).uniform([3, -20, -1], [40, 20, 2], (400, 3))
    first, same, other = (select(xyz, sampler=sampler, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.range_m, same.range_m)
    assert not np.array_equal(first.range_m, other.range_m)
    assert first.valid.all() and len(np.unique(first.range_m)) == 16


def test_uniform_sampling_is_uniform_and_range_power_prefers_far_returns():
    ranges = np.repeat([10.0, 40.0], 200)
    xyz = np.stack([ranges, np.linspace(-1, 1, 400), np.zeros(400)], 1)

    def far_share(power):
        draws = [select(xyz, seed=s, range_power=power).range_m > 20 for s in range(120)]
        return np.mean(draws)

    assert far_share(0.0) == pytest.approx(0.5, abs=0.05)
    assert far_share(1.0) == pytest.approx(0.8, abs=0.05)  # 40 : 10
    assert far_share(-1.0) == pytest.approx(0.2, abs=0.05)


def test_ground_weight_renders_fewer_ground_rays():
    heights = np.repeat([-KITTI.height_m, 1.0], 200)  # on the ground, above it
    xyz = np.stack([np.full(400, 10.0), np.linspace(-1, 1, 400), heights], 1)

    def ground_share(weight):
        draws = [
            hits(select(xyz, seed=s, ground_filter=False, ground_weight=weight))[:, 2] < 0
            for s in range(120)
        ]
        return np.mean(draws)

    assert ground_share(1.0) == pytest.approx(0.5, abs=0.05)
    assert ground_share(0.25) == pytest.approx(0.2, abs=0.05)  # 0.25 : 1


def test_farthest_points_cover_more_than_uniform_ones():
    rng = np.random.default_rng(0)
    dense = rng.normal([10, 0, 0], 0.2, (400, 3))
    sparse = rng.uniform([5, -20, -1], [40, 20, 2], (40, 3))
    xyz = np.concatenate([dense, sparse])
    spread = {s: np.ptp(hits(select(xyz, sampler=s, n=230)), axis=0) for s in ("uniform", "fps")}
    count = {
        s: (np.abs(hits(select(xyz, sampler=s, n=230))[:, 1]) > 2).sum() for s in ("uniform", "fps")
    }
    assert count["fps"] > count["uniform"] and (spread["fps"] >= spread["uniform"] - 1e-6).all()
