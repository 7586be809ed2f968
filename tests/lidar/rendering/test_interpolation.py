"""T2 and the gather of T16 a: interpolation against grid_sample and against coordinates."""

import pytest
import torch

from lidar.geometry.voxel_grid import VoxelGrid, volume_centres
from lidar.rendering.interpolation import (
    cell_rows,
    corner_rows,
    gather_along_rays,
    gather_corners,
    interpolate,
    occupied_corners,
    project_and_gather,
)
from lidar.rendering.lattice import Lattice

GRID = VoxelGrid([-8.0, -4.0, -2.0, 8.0, 4.0, 6.0], [0.25, 0.25, 0.2])


def lattice_of(grid, source="x_conv4"):
    centre_m, step_m, shape = volume_centres(GRID, source)
    return Lattice.build(grid, GRID.point_range, centre_m=centre_m, step_m=step_m, shape_dhw=shape)


def draw(*size, dtype=torch.float64, grad=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad)
    )


@pytest.mark.parametrize("grid", ["receptive_field", "cell", "corners"])
@pytest.mark.parametrize("source", ["x_conv4", "conv_out"])
def test_t2_coordinate_volume_returns_the_query(grid, source):
    lattice = lattice_of(grid, source)
    depth, height, width = lattice.shape_dhw
    cells = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in (depth, height, width)), indexing="ij")[::-1], -1
    )
    centres = cells / torch.tensor(lattice.cells_per_m) + torch.tensor(lattice.origin_m)
    if grid == "corners":
        torch.testing.assert_close(centres[-1, -1, -1], torch.tensor(GRID.point_range[3:]))
    volume = centres.permute(3, 0, 1, 2)[None].contiguous()
    share = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    low, high = centres[0, 0, 0], centres[-1, -1, -1]
    query = (low + share * (high - low))[None]
    index = lattice.index(query)
    torch.testing.assert_close(interpolate(volume, index), query, atol=1e-5, rtol=0)
    rows, weights = corner_rows(index, lattice.shape_dhw)
    found = gather_corners(cell_rows(volume), rows, weights)
    torch.testing.assert_close(found[None], query, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 3), (2, 1, 5), (5, 6, 7)])
def test_gather_equals_grid_sample(padding, shape):
    """All borders, inside and far outside; values and gradients to 1e-12."""
    volume = draw(2, 3, *shape, grad=True)
    index = draw(2, 60, 3, seed=1) * torch.tensor(shape[::-1]) + torch.tensor(shape[::-1]) / 2
    index[:, 0] = -1e6
    index[:, 1] = torch.tensor(shape[::-1]) - 1
    index[:, 2] = 0
    expected = interpolate(volume, index, padding=padding)
    rows, weights = corner_rows(index, shape, padding=padding)
    assert ((rows >= 0) & (rows < 2 * shape[0] * shape[1] * shape[2])).all()
    got = gather_corners(cell_rows(volume), rows, weights).view(2, 60, 3)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    direction = draw(2, 60, 3, seed=2)
    grads = [torch.autograd.grad((out * direction).sum(), volume)[0] for out in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


def test_gradchecks():
    volume = draw(2, 2, 2, 3, 2, grad=True)
    index = draw(2, 3, 3, seed=1) + 0.5
    rows, weights = corner_rows(index, (2, 3, 2))
    lines, ranges = draw(3, 2, 2, grad=True, seed=2), draw(3, 2, seed=3)
    table, matrix = cell_rows(volume).detach().requires_grad_(), draw(4, 2, grad=True, seed=4)
    assert torch.autograd.gradcheck(
        lambda t, line: gather_along_rays(t, line, rows, weights, ranges), (table, lines)
    )
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        laid_out = volume.detach().to(memory_format=layout).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda v, m: project_and_gather(v, m, rows, weights), (laid_out, matrix)
        )


def test_channels_last_cells_are_a_view():
    volume = draw(1, 4, 2, 3, 5).to(memory_format=torch.channels_last_3d)
    assert cell_rows(volume).data_ptr() == volume.data_ptr()


def test_cells_beyond_int32_keep_their_numbers():
    shape = (41, 1504, 1504)
    index = torch.tensor([2.0, 3.0, 4.0]).expand(25, 1, 3)
    rows, weights = corner_rows(index, shape)
    assert int(rows[-1, 0]) == ((24 * 41 + 4) * 1504 + 3) * 1504 + 2 > 2**31
    occupied = rows[[0, -1], 0].clone()
    found = occupied_corners(index, occupied, shape)
    assert found.rows.tolist() == [0, 1]
    assert found.counts.tolist() == [1, *[0] * 23, 1] and found.weights.tolist() == [1, 1]
    assert corner_rows(index[:2], shape)[0].dtype == torch.int32
