"""Occupied voxels of a batch of grids, sorted, with the kernel maps that were built on them."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int, Int64
from torch import Tensor

if TYPE_CHECKING:
    from lidar.sparse.kernel_map import KernelMap

Triple = tuple[int, int, int]

MAX_KEY = 2**63 - 1
"""Keys are int64; spconv packs into int32 and overflows silently (spconv #607, #656)."""


def pack_keys(
    coords: Int[Tensor, "voxels 4"],
    shape: Sequence[int],
    batch_size: int,
    radius: Sequence[int] = (0, 0, 0),
) -> Int64[Tensor, " voxels"]:
    """Row-major number of each voxel in a grid padded by `radius` on both sides.

    The padding keeps x + 1 of the last voxel of a row apart from the first voxel of the next row.

    Args:
        coords: b z y x.
        shape: D H W.
        batch_size: Number of grids.
        radius: Padding z y x.

    Returns:
        int64 keys that sort like the coordinates.

    Raises:
        ValueError: If the largest key does not fit into int64.
    """
    depth, height, width = (size + 2 * pad for size, pad in zip(shape, radius, strict=True))
    if batch_size * depth * height * width > MAX_KEY:
        raise ValueError(
            f"a batch of {batch_size} grids of {tuple(shape)} voxels overflows int64 keys; "
            "use larger voxels or a smaller range"
        )
    b, z, y, x = coords.long().unbind(1)
    return ((b * depth + (z + radius[0])) * height + (y + radius[1])) * width + (x + radius[2])


class Sites:
    """Sorted unique voxel coordinates; tensors that share them share the kernel maps.

    Attributes:
        coords: int32 [N, 4], b z y x, in key order.
        shape: D H W.
        batch_size: Number of grids.
        submanifold_maps: Kernel maps by kernel size.
        strided_maps: Kernel maps and output sites by (kernel, stride, padding).
    """

    def __init__(self, coords: Tensor, shape: Triple, batch_size: int) -> None:
        self.coords = coords
        self.shape = shape
        self.batch_size = batch_size
        self.submanifold_maps: dict[Triple, KernelMap] = {}
        self.strided_maps: dict[tuple[Triple, Triple, Triple], tuple[KernelMap, Sites]] = {}

    def __len__(self) -> int:
        return len(self.coords)

    @cached_property
    def cells(self) -> Int64[Tensor, " voxels"]:
        """Row-major number of each voxel among the cells of all grids, ascending."""
        return pack_keys(self.coords, self.shape, self.batch_size)

    @classmethod
    def from_coords(
        cls, coords: Int[Tensor, "voxels 4"], shape: Sequence[int], batch_size: int
    ) -> tuple["Sites", Int64[Tensor, " voxels"] | None]:
        """Check and sort coordinates.

        Args:
            coords: b z y x, any order.
            shape: D H W.
            batch_size: Number of grids.

        Returns:
            The sites and the row order that sorts them; none when they were sorted already.

        Raises:
            ValueError: On a coordinate outside the grid, a voxel given twice, or key overflow.
        """
        depth, height, width = (int(size) for size in shape)
        keys = pack_keys(coords, (depth, height, width), batch_size)
        if len(coords):
            limits = (batch_size, depth, height, width)
            lowest, highest = coords.amin(0).tolist(), coords.amax(0).tolist()
            for axis, name in enumerate(("batch", "z", "y", "x")):
                if lowest[axis] < 0 or highest[axis] >= limits[axis]:
                    raise ValueError(
                        f"{name} coordinates span {lowest[axis]}..{highest[axis]}, outside "
                        f"0..{limits[axis] - 1}; drop points outside the grid first"
                    )
        order = None
        if not bool((keys[1:] > keys[:-1]).all()):
            keys, order = torch.sort(keys)
            coords = coords.index_select(0, order)
            twice = (keys[1:] == keys[:-1]).nonzero()
            if len(twice):
                voxel = coords[int(twice[0])].tolist()
                raise ValueError(
                    f"voxel b z y x {voxel} is given more than once ({len(twice)} repeats); "
                    "merge its points with lidar.geometry.voxel_grid.voxelise_mean"
                )
        return cls(coords.int(), (depth, height, width), batch_size), order
