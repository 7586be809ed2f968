"""Keys, order, and what is refused."""

import pytest
import torch

from lidar.sparse.kernel_map import submanifold_map
from lidar.sparse.layers import SubMConv3d
from lidar.sparse.sites import Sites, pack_keys
from lidar.sparse.tensor import SparseTensor


@pytest.mark.parametrize("shape", [(41, 1440, 1440), (2, 2**15, 2**15), (5, 2**20, 2**20)])
def test_keys_near_and_beyond_int32(shape: tuple[int, int, int]) -> None:
    last = torch.tensor([[1, *(size - 1 for size in shape)]])
    key = int(pack_keys(last, shape, 2))
    assert key == 2 * shape[0] * shape[1] * shape[2] - 1


def test_neighbours_beyond_int32_are_found() -> None:
    shape = (3, 2**20, 2**20)
    corner = [2, 2**20 - 1, 2**20 - 1]
    coords = torch.tensor([[0, *corner], [0, corner[0], corner[1], corner[2] - 1], [0, 2, 0, 0]])
    x = SparseTensor(coords, torch.ones(3, 1), shape, 1)
    layer = SubMConv3d(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    assert layer(x).feats.flatten().tolist() == [1.0, 2.0, 2.0]


def test_overflow_raises() -> None:
    coords = torch.zeros(1, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="overflows int64"):
        SparseTensor(coords, torch.ones(1, 1), (2**21, 2**21, 2**21), 1)
    sites, _ = Sites.from_coords(coords, (2**21 - 1, 2**21 - 1, 2**21 - 1), 1)
    with pytest.raises(ValueError, match="overflows int64"):
        submanifold_map(sites, (3, 3, 3))


def test_rows_do_not_wrap_around() -> None:
    coords = torch.tensor([[0, 0, 0, 3], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    x = SparseTensor(coords, torch.ones(4, 1), (2, 2, 4), 2)
    kernel_map = submanifold_map(x.sites, (1, 1, 3))
    assert kernel_map.counts == (0, 4, 0)


def test_input_order_does_not_matter() -> None:
    torch.manual_seed(0)
    coords = (torch.rand(2, 6, 6, 6) < 0.3).nonzero()
    feats = torch.randn(len(coords), 4)
    layer = SubMConv3d(4, 5)
    shuffle = torch.randperm(len(coords))
    a = layer(SparseTensor(coords, feats, (6, 6, 6), 2))
    b = layer(SparseTensor(coords[shuffle], feats[shuffle], (6, 6, 6), 2))
    assert torch.equal(a.coords, b.coords)
    assert torch.equal(a.feats, b.feats)


def test_repeated_voxel_raises() -> None:
    coords = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1]])
    with pytest.raises(ValueError, match="more than once"):
        SparseTensor(coords, torch.ones(3, 1), (2, 2, 2), 1)


@pytest.mark.parametrize("voxel", [[0, 0, 0, 2], [0, -1, 0, 0], [1, 0, 0, 0]])
def test_voxel_outside_raises(voxel: list[int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        SparseTensor(torch.tensor([voxel]), torch.ones(1, 1), (2, 2, 2), 1)


def test_cells_are_numbered_across_the_batch() -> None:
    coords = torch.tensor([[1, 1, 1, 2], [0, 0, 1, 2], [1, 0, 0, 0]])
    sites, _ = Sites.from_coords(coords, (2, 2, 3), 2)
    assert sites.cells.tolist() == [5, 12, 23]
