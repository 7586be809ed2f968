"""Voxel indices, mean features, hard voxels and centres of coarse cells."""

import pytest
import torch

from lidar.geometry.voxel_grid import VoxelGrid, volume_centres, voxelise_hard, voxelise_mean

NUSCENES = VoxelGrid([-54.0, -54.0, -5.0, 54.0, 54.0, 3.0], [0.075, 0.075, 0.2])


def test_shapes() -> None:
    assert NUSCENES.shape_xyz == (1440, 1440, 40)
    assert NUSCENES.sparse_shape_zyx == (41, 1440, 1440)
    assert NUSCENES.origin == (-54.0, -54.0, -5.0)
    hash(NUSCENES)


def test_size_must_divide_the_range() -> None:
    with pytest.raises(ValueError, match="does not divide the z range"):
        VoxelGrid([0, 0, 0, 1, 1, 1], [0.5, 0.5, 0.3])
    with pytest.raises(ValueError, match="6 and voxel_size 3"):
        VoxelGrid([0, 0, 0, 1], [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="positive"):
        VoxelGrid([0, 0, 0, 1, 1, 1], [0.5, 0.5, -0.5])


def test_half_open_range() -> None:
    grid = VoxelGrid([-1, -1, -1, 1, 1, 1], [0.5, 0.5, 0.5])
    points = torch.tensor([[-1.0, 0.0, 0.99], [1.0, 0, 0], [0, -1.01, 0], [float("nan"), 0, 0]])
    coords, inside = grid.coords(points)
    assert inside.tolist() == [True, False, False, False]
    assert coords[0].tolist() == [3, 2, 0]


def test_mean_equals_a_loop() -> None:
    torch.manual_seed(0)
    grid = VoxelGrid([-2, -2, -1, 2, 2, 1], [1, 0.5, 1])
    points = torch.randn(500, 5, dtype=torch.float64)
    batch = torch.randint(0, 3, (500,))
    coords, feats = voxelise_mean(points, batch, grid)
    cells, inside = grid.coords(points)
    groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for row in inside.nonzero().flatten().tolist():
        groups.setdefault((int(batch[row]), *cells[row].tolist()), []).append(points[row])
    assert [tuple(c) for c in coords.tolist()] == sorted(groups)
    expected = torch.stack([torch.stack(groups[key]).mean(0) for key in sorted(groups)])
    torch.testing.assert_close(feats, expected)
    assert coords.dtype == torch.int32


def test_empty_cloud() -> None:
    coords, feats = voxelise_mean(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), NUSCENES)
    assert coords.shape == (0, 4) and feats.shape == (0, 4)
    outside = torch.full((3, 4), 100.0)
    hard = voxelise_hard(
        outside, torch.zeros(3, dtype=torch.long), NUSCENES, max_points=2, max_voxels=2
    )
    assert len(hard.coords) == 0 and hard.dropped_points == 0


def test_hard_voxels_equal_a_loop() -> None:
    torch.manual_seed(0)
    grid = VoxelGrid([0, 0, 0, 4, 4, 4], [1, 1, 1])
    points = 4 * torch.rand(300, 4, dtype=torch.float64)
    batch = torch.randint(0, 2, (300,))
    hard = voxelise_hard(points, batch, grid, max_points=3, max_voxels=20)
    cells, _ = grid.coords(points)
    voxels: dict[tuple[int, ...], list[torch.Tensor]] = {}
    opened, dropped = [0, 0], 0
    refused = set()
    for row in range(300):
        key = (int(batch[row]), *cells[row].tolist())
        if key not in voxels:
            if opened[key[0]] == 20:
                refused.add(key)
                dropped += 1
                continue
            opened[key[0]] += 1
            voxels[key] = []
        if len(voxels[key]) == 3:
            dropped += 1
        else:
            voxels[key].append(points[row])
    assert [tuple(c) for c in hard.coords.tolist()] == sorted(voxels)
    expected = torch.stack([torch.stack(voxels[key]).mean(0) for key in sorted(voxels)])
    torch.testing.assert_close(hard.feats, expected)
    assert hard.dropped_points == dropped > 0
    assert hard.dropped_voxels == len(refused) > 0


def test_published_centres() -> None:
    origin, step, shape = volume_centres(NUSCENES, "x_conv4")
    assert shape == (5, 180, 180)
    assert [round(origin[2] + i * step[2], 6) for i in range(5)] == [-4.1, -2.5, -0.9, 0.7, 2.3]
    assert origin[0] == pytest.approx(-54 + 0.5 * 0.075)
    assert step[:2] == pytest.approx((0.6, 0.6))
    origin, step, shape = volume_centres(NUSCENES, "conv_out")
    assert shape == (2, 180, 180)
    assert [round(origin[2] + i * step[2], 6) for i in range(2)] == [-2.5, 0.7]
    waymo = VoxelGrid([-75.2, -75.2, -2, 75.2, 75.2, 4], [0.1, 0.1, 0.15])
    assert volume_centres(waymo, "x_conv4")[2] == (5, 188, 188)
