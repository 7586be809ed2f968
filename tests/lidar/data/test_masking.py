"""T14: exact block count, per sample, seed-stable, masked voxels absent."""

import pytest
import torch

from lidar.config import MaskConfig
from lidar.data.masking import cell_keys, mask_points
from lidar.geometry.voxel_grid import VoxelGrid, voxelise_mean

GRID = VoxelGrid([-12.8, -12.8, -5.0, 12.8, 12.8, 3.0], [0.2, 0.2, 0.2])


def cloud(seed=0, count=4000):
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([-14.0, -14, -6, 0]), torch.tensor([14.0, 14, 4, 1])
    return low + (high - low) * torch.rand(count, 4, generator=generator)


def masked(points, kind="block8", ratio=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return mask_points(points, GRID, MaskConfig(kind, ratio), generator)


def voxels(points):
    coords, _ = voxelise_mean(points, torch.zeros(len(points), dtype=torch.long), GRID)
    return {tuple(row) for row in coords[:, 1:].tolist()}


@pytest.mark.parametrize("kind", ["block8", "voxel"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9, 0.95])
def test_exact_number_of_cells_and_no_masked_voxel_seen(kind, ratio):
    points = cloud()
    result = masked(points, kind, ratio)
    edge = 8 if kind == "block8" else 1
    occupied = {(z // edge, y // edge, x // edge) for z, y, x in voxels(points)}
    visible = {(z // edge, y // edge, x // edge) for z, y, x in voxels(points[result.seen])}
    assert result.mask.num_cells == len(occupied)
    assert len(result.mask.masked) == round(ratio * len(occupied))
    assert len(visible) == len(occupied) - round(ratio * len(occupied))
    hidden = points[result.inside & ~result.seen]
    assert not voxels(hidden) & voxels(points[result.seen])


def test_mask_tells_which_points_it_covers():
    points = cloud()
    result = masked(points)
    covered = result.mask.covers(points)
    assert torch.equal(covered, result.inside & ~result.seen)
    assert not covered[~result.inside].any()
    assert torch.equal(masked(points, "voxel").mask.covers(points), masked(points, "voxel").inside
                       & ~masked(points, "voxel").seen)  # fmt: skip


def test_draws_repeat_with_the_seed_and_differ_between_samples():
    points = cloud()
    assert torch.equal(masked(points, seed=1).seen, masked(points, seed=1).seen)
    assert not torch.equal(masked(points, seed=1).seen, masked(points, seed=2).seen)
    state = torch.random.get_rng_state()
    masked(points)
    assert torch.equal(state, torch.random.get_rng_state())


def test_every_block_is_as_likely():
    points = torch.tensor([[-10.0 + 2 * n, 0.0, 0.0, 0.0] for n in range(10)])
    hidden = sum((~masked(points, ratio=0.5, seed=seed).seen).float() for seed in range(400))
    assert (hidden - 200).abs().max() < 45  # 4.5 standard deviations


def test_none_empty_and_single_inputs():
    points = cloud()
    none = masked(points, "none")
    assert torch.equal(none.seen, none.inside) and not none.mask.covers(points).any()
    empty = masked(points[:0])
    assert len(empty.seen) == 0 and empty.mask.num_cells == 0
    assert masked(torch.zeros(1, 4)).seen.all()  # the last cell is never masked


def test_large_grids_of_single_voxels():
    grid = VoxelGrid([-54.0, -54, -5, 54, 54, 3], [0.075, 0.075, 0.2])
    result = mask_points(cloud(), grid, MaskConfig("voxel", 0.9), torch.Generator().manual_seed(0))
    keys, inside = cell_keys(cloud(), grid, 1)
    assert len(result.mask.masked) == round(0.9 * len(keys[inside].unique()))
    assert torch.equal(result.mask.covers(cloud()), inside & ~result.seen)


def test_ratio_outside_its_range():
    with pytest.raises(ValueError, match=r"mask.ratio must be in \[0, 1\), got 1.0"):
        masked(cloud(), ratio=1.0)
