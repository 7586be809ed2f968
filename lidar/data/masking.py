"""Masking of the encoder's input: whole voxels, or 8x8x8 blocks of them, lose their points.

TREND §4.1 masks a share of 0.9 and leaves the granularity open; blocks are UniPAD's code. There is
no mask token: the encoder never sees a masked voxel.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lidar.config import MaskConfig
from lidar.geometry.voxel_grid import VoxelGrid

BLOCK = 8
"""Voxels along a block's edge: one cell of x_conv4."""


_DENSE_CELLS = 1 << 22


@dataclass(frozen=True)
class VoxelMask:
    """The masked cells (blocks or voxels) of one sample."""

    grid: VoxelGrid
    cell: int
    """Voxels along a cell's edge: 8 or 1."""
    masked: Int64[Tensor, " cells"]
    """Keys of the masked cells, sorted."""
    num_cells: int
    """Non-empty cells before masking."""

    def covers(self, points: Float[Tensor, "points columns"]) -> Bool[Tensor, " points"]:
        """Which points lie in a masked cell."""
        keys, inside = cell_keys(points, self.grid, self.cell)
        covered = torch.zeros_like(inside)
        covered[inside] = self.covers_keys(keys[inside])
        return covered

    def covers_keys(self, keys: Int64[Tensor, " keys"]) -> Bool[Tensor, " keys"]:
        """Which of these cells are masked."""
        total = num_cells(self.grid, self.cell)
        if total <= _DENSE_CELLS:
            table = torch.zeros(total, dtype=torch.bool)
            table[self.masked] = True
            return table[keys]
        return torch.isin(keys, self.masked)


@dataclass(frozen=True)
class MaskedInput:
    """What masking did to the input points of one sample."""

    mask: VoxelMask
    inside: Bool[Tensor, " points"]
    """Points in the grid."""
    seen: Bool[Tensor, " points"]
    """Points in the grid and in no masked cell: what the encoder gets."""


def mask_points(
    points: Float[Tensor, "points columns"],
    grid: VoxelGrid,
    config: MaskConfig,
    generator: torch.Generator,
) -> MaskedInput:
    """Mask exactly round(ratio n) of the n non-empty cells, keeping at least one.

    Args:
        points: Encoder input of one sample, x y z first.
        grid: The encoder's voxel grid.
        config: Granularity and ratio.
        generator: Keyed to the sample.

    Raises:
        ValueError: The ratio is outside [0, 1).
    """
    if not 0 <= config.ratio < 1:
        raise ValueError(f"mask.ratio must be in [0, 1), got {config.ratio}")
    cell = BLOCK if config.type == "block8" else 1
    keys, inside = cell_keys(points, grid, cell)
    inside_keys = keys[inside]
    if config.type == "none":
        cells = inside_keys[:0]
    elif num_cells(grid, cell) <= _DENSE_CELLS:
        occupied = torch.zeros(num_cells(grid, cell), dtype=torch.bool)
        occupied[inside_keys] = True
        cells = occupied.nonzero()[:, 0]
    else:
        cells = torch.unique(inside_keys)
    num_masked = max(0, min(round(config.ratio * len(cells)), len(cells) - 1))
    order = torch.randperm(len(cells), generator=generator)
    mask = VoxelMask(grid, cell, cells[order[:num_masked]].sort().values, len(cells))
    seen = inside.clone()
    seen[inside] = ~mask.covers_keys(inside_keys)
    return MaskedInput(mask, inside, seen)


def cell_keys(
    points: Float[Tensor, "points columns"], grid: VoxelGrid, cell: int
) -> tuple[Int64[Tensor, " points"], Bool[Tensor, " points"]]:
    """Number of the cell of each point (meaningless where outside), and which are inside."""
    zyx, inside = grid.coords(points)
    if cell == BLOCK:
        zyx = zyx >> 3
    nx, ny, _ = _cells_xyz(grid, cell)
    return (zyx[:, 0].long() * ny + zyx[:, 1]) * nx + zyx[:, 2], inside


def num_cells(grid: VoxelGrid, cell: int) -> int:
    """Cells of the whole grid."""
    return math.prod(_cells_xyz(grid, cell))


def _cells_xyz(grid: VoxelGrid, cell: int) -> tuple[int, int, int]:
    x, y, z = (-(-n // cell) for n in grid.shape_xyz)
    return x, y, z
