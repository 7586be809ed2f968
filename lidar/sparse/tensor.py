"""Sparse tensors: features at the occupied voxels of a batch of grids."""

from collections.abc import Sequence

from jaxtyping import Float, Int, Int32
from torch import Tensor

from lidar.sparse.sites import Sites, Triple


class SparseTensor:
    """Features [N, C] at N occupied voxels, rows sorted by b, z, y, x.

    Example:
        >>> import torch
        >>> coords = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 2]])
        >>> SparseTensor(coords, torch.tensor([[1.0], [2.0]]), (2, 1, 3), 1).feats
        tensor([[2.],
                [1.]])
    """

    def __init__(
        self,
        coords: Int[Tensor, "voxels 4"],
        feats: Float[Tensor, "voxels channels"],
        shape: Sequence[int],
        batch_size: int,
    ) -> None:
        """Check and sort the voxels.

        Args:
            coords: b z y x, unique, any order.
            feats: One row per voxel.
            shape: D H W.
            batch_size: Number of grids.

        Raises:
            ValueError: On a voxel given twice or outside the grid, or key overflow.
        """
        self.sites, order = Sites.from_coords(coords, shape, batch_size)
        self.feats = feats if order is None else feats.index_select(0, order)

    @classmethod
    def at(cls, sites: Sites, feats: Float[Tensor, "voxels channels"]) -> "SparseTensor":
        """Wrap features of known sites without checking them again."""
        tensor = cls.__new__(cls)
        tensor.sites = sites
        tensor.feats = feats
        return tensor

    def with_feats(self, feats: Float[Tensor, "voxels channels"]) -> "SparseTensor":
        """Other features at the same voxels; kernel maps are shared."""
        return SparseTensor.at(self.sites, feats)

    @property
    def coords(self) -> Int32[Tensor, "voxels 4"]:
        """b z y x in key order."""
        return self.sites.coords

    @property
    def shape(self) -> Triple:
        """D H W."""
        return self.sites.shape

    @property
    def batch_size(self) -> int:
        """Number of grids."""
        return self.sites.batch_size

    def __len__(self) -> int:
        return len(self.feats)

    def __repr__(self) -> str:
        voxels, channels = self.feats.shape
        return (
            f"SparseTensor({voxels} voxels, {channels} channels, shape {self.shape}, "
            f"batch {self.batch_size})"
        )

    def dense(self) -> Float[Tensor, "batch channels depth height width"]:
        """[B, C, D, H, W] with zeros in empty voxels."""
        depth, height, width = self.shape
        b, z, y, x = self.coords.long().unbind(1)
        rows = ((b * depth + z) * height + y) * width + x
        flat = self.feats.new_zeros(self.batch_size * depth * height * width, self.feats.shape[1])
        flat = flat.index_copy(0, rows, self.feats)
        grid = flat.view(self.batch_size, depth, height, width, -1)
        return grid.permute(0, 4, 1, 2, 3).contiguous()
