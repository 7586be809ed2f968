"""Regular voxel grids: which voxel a point is in, mean features, and where coarse cells sit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

Stage = Literal["x_conv1", "x_conv2", "x_conv3", "x_conv4", "conv_out"]
"""Outputs of the encoder, fine to coarse."""
STAGE_PADDINGS: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (1, 1, 1), (0, 1, 1))
"""Paddings z, y, x of the 3x3x3 stride-2 convolutions to x_conv2, x_conv3, x_conv4 (OpenPCDet)."""


@dataclass(frozen=True)
class VoxelGrid:
    """Half-open box of equal voxels: voxel i of an axis covers [min + i v, min + (i + 1) v)."""

    point_range: Sequence[float | int]
    """x_min y_min z_min x_max y_max z_max in metres."""
    voxel_size: Sequence[float | int]
    """Edges x y z in metres."""

    def __post_init__(self) -> None:
        if len(self.point_range) != 6 or len(self.voxel_size) != 3:
            raise ValueError(
                "point_range needs 6 and voxel_size 3 numbers, "
                f"got {list(self.point_range)} and {list(self.voxel_size)}"
            )
        object.__setattr__(self, "point_range", tuple(map(float, self.point_range)))
        object.__setattr__(self, "voxel_size", tuple(map(float, self.voxel_size)))
        for axis, name in enumerate("xyz"):
            low, high = self.point_range[axis], self.point_range[axis + 3]
            size = self.voxel_size[axis]
            if size <= 0 or high <= low:
                raise ValueError(
                    f"{name}: range {low}..{high} and voxel size {size} must be positive"
                )
            cells = (high - low) / size
            if abs(cells - round(cells)) > 1e-3:
                raise ValueError(
                    f"voxel_size {size} does not divide the {name} range {low}..{high} "
                    f"({cells:.4f} voxels); use {(high - low) / max(round(cells), 1):.6g}"
                )

    @property
    def origin(self) -> tuple[float, float, float]:
        """Lower corner x y z in metres."""
        return self.point_range[0], self.point_range[1], self.point_range[2]

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = (
            round((self.point_range[axis + 3] - self.point_range[axis]) / self.voxel_size[axis])
            for axis in range(3)
        )
        return x, y, z

    @property
    def sparse_shape_zyx(self) -> tuple[int, int, int]:
        """Grid of the sparse encoder, z y x, with one more z cell as in OpenPCDet (41 for 40)."""
        x, y, z = self.shape_xyz
        return z + 1, y, x

    def coords(
        self, points: Float[Tensor, "points features"]
    ) -> tuple[Int32[Tensor, "points 3"], Bool[Tensor, " points"]]:
        """Voxel of each point, floor((p - min) / v).

        Args:
            points: x y z first, metres.

        Returns:
            z y x voxel indices (meaningless where outside) and which points lie in the grid; NaN
            points lie outside.

        Example:
            >>> grid = VoxelGrid([0, 0, 0, 2, 2, 2], [1, 1, 1])
            >>> grid.coords(torch.tensor([[0.5, 1.0, 1.9], [2.0, 0.0, 0.0]]))
            (tensor([[1, 1, 0],
                    [0, 0, 2]], dtype=torch.int32), tensor([ True, False]))
        """
        cell = points[:, :3] - points.new_tensor(self.origin)
        cell = cell.div_(points.new_tensor(self.voxel_size)).floor_()
        inside = ((cell >= 0) & (cell < points.new_tensor(self.shape_xyz))).all(1)
        return cell.flip(1).nan_to_num_().clamp_(-1, 2**24).int(), inside


class HardVoxels(NamedTuple):
    """Result of `voxelise_hard`."""

    coords: Int32[Tensor, "voxels 4"]
    """b z y x, sorted."""
    feats: Float[Tensor, "voxels features"]
    """Mean of the kept points."""
    dropped_points: int
    """Points inside the grid that a full voxel or a full sample turned away."""
    dropped_voxels: int
    """Occupied voxels beyond `max_voxels`."""


def voxelise_mean(
    points: Float[Tensor, "points features"], point_batch: Int[Tensor, " points"], grid: VoxelGrid
) -> tuple[Int32[Tensor, "voxels 4"], Float[Tensor, "voxels features"]]:
    """Average all points of each occupied voxel (dynamic mean VFE: no point is dropped).

    Args:
        points: x y z first, metres; points outside the grid are left out.
        point_batch: Sample of each point.
        grid: The voxel grid.

    Returns:
        Voxel coordinates b z y x, sorted, and mean features.
    """
    keys, inside = _point_keys(points, point_batch, grid)
    keys, order = torch.sort(keys, stable=True)
    unique, group, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    rows = inside.index_select(0, order)
    feats = points.new_zeros(len(unique), points.shape[1])
    feats.index_add_(0, group, points.index_select(0, rows))
    return _unpack(unique, grid), feats.div_(counts.unsqueeze(1))


def voxelise_hard(
    points: Float[Tensor, "points features"],
    point_batch: Int[Tensor, " points"],
    grid: VoxelGrid,
    *,
    max_points: int,
    max_voxels: int,
) -> HardVoxels:
    """Average the first points of the first voxels, for parity with OpenPCDet's hard voxels.

    Points are taken in order: a voxel opens with its first point while its sample has fewer than
    `max_voxels`, and keeps its first `max_points` points.

    Args:
        points: x y z first, metres.
        point_batch: Sample of each point.
        grid: The voxel grid.
        max_points: Points kept per voxel.
        max_voxels: Voxels kept per sample.

    Returns:
        Sorted voxels, means, and how much was dropped.
    """
    keys, inside = _point_keys(points, point_batch, grid)
    keys, order = torch.sort(keys, stable=True)
    unique, group, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    start = counts.cumsum(0) - counts
    coords = _unpack(unique, grid)
    opened = torch.argsort(order.index_select(0, start))  # voxels by their first point
    by_sample = opened[torch.argsort(coords[opened, 0], stable=True)]
    sample_sizes = torch.bincount(coords[:, 0].long())
    first = sample_sizes.cumsum(0) - sample_sizes
    rank = torch.empty_like(by_sample)
    rank[by_sample] = torch.arange(len(unique), device=points.device)
    kept_voxel = rank - first[coords[:, 0].long()] < max_voxels
    place = torch.arange(len(keys), device=points.device) - start[group]
    kept = kept_voxel[group] & (place < max_points)
    feats = points.new_zeros(len(unique), points.shape[1])
    feats.index_add_(0, group[kept], points[inside[order[kept]]])
    feats = feats / counts.clamp(max=max_points).unsqueeze(1)
    return HardVoxels(
        coords=coords[kept_voxel],
        feats=feats[kept_voxel],
        dropped_points=int(len(keys) - kept.sum()),
        dropped_voxels=int(len(unique) - kept_voxel.sum()),
    )


def volume_centres(
    grid: VoxelGrid, source: Stage
) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[int, int, int]]:
    """Receptive-field centres of the cells of an encoder stage.

    A 3x3x3 stride-2 convolution with padding p centres cell i on input cell 2 i - p + 1. Chained:
    x_min + (8 i + 0.5) v in x and y; z_min + (8 i + 4.5) v_z for x_conv4 and
    z_min + (16 i + 12.5) v_z for conv_out. It is not (8 i + 4) v.

    Args:
        grid: The input voxels.
        source: x_conv1 to x_conv4 (strides 1, 2, 4, 8), or conv_out, whose k(3,1,1) s(2,1,1) p 0
            halves z once more.

    Returns:
        Centre of cell 0 as x y z in metres, step between cells as x y z in metres, and the shape
        D, H, W (z, y, x).

    Example:
        >>> volume_centres(VoxelGrid([-54, -54, -5, 54, 54, 3], [0.075, 0.075, 0.2]), "conv_out")
        ((-53.9625, -53.9625, -2.5), (0.6, 0.6, 3.2), (2, 180, 180))
    """
    offset, step, shape = [0, 0, 0], [1, 1, 1], list(grid.sparse_shape_zyx)
    num_strides = len(STAGE_PADDINGS) if source == "conv_out" else int(source[-1]) - 1
    for padding in STAGE_PADDINGS[:num_strides]:
        for axis in range(3):
            offset[axis] += step[axis] * (1 - padding[axis])
            step[axis] *= 2
            shape[axis] = (shape[axis] + 2 * padding[axis] - 3) // 2 + 1
    if source == "conv_out":
        offset[0] += step[0]
        step[0] *= 2
        shape[0] = (shape[0] - 3) // 2 + 1
    centre = [
        round(grid.origin[i] + (offset[2 - i] + 0.5) * grid.voxel_size[i], 9) for i in range(3)
    ]
    stride = [round(step[2 - i] * grid.voxel_size[i], 9) for i in range(3)]
    return (
        (centre[0], centre[1], centre[2]),
        (stride[0], stride[1], stride[2]),
        (shape[0], shape[1], shape[2]),
    )


def _point_keys(
    points: Float[Tensor, "points features"], point_batch: Int[Tensor, " points"], grid: VoxelGrid
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"]]:
    """Sortable voxel keys of the points inside the grid, and the rows of those points."""
    coords, mask = grid.coords(points)
    inside = mask.nonzero().squeeze(1)
    z, y, x = coords.index_select(0, inside).long().unbind(1)
    num_x, num_y, num_z = grid.shape_xyz
    batch = point_batch.index_select(0, inside).long()
    return ((batch * num_z + z) * num_y + y) * num_x + x, inside


def _unpack(keys: Int[Tensor, " voxels"], grid: VoxelGrid) -> Int32[Tensor, "voxels 4"]:
    num_x, num_y, num_z = grid.shape_xyz
    rows = keys // num_x
    layers = rows // num_y
    batch = layers // num_z
    return torch.stack(
        [batch, layers - batch * num_z, rows - layers * num_y, keys - rows * num_x], 1
    ).int()
