"""Sparse convolution layers, and modules that act on the features of a sparse tensor."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.blocks.batch_norm import JointBatchNorm
from lidar.sparse.convolution import sparse_convolution
from lidar.sparse.kernel_map import KernelMap, strided_map, submanifold_map
from lidar.sparse.sites import Triple
from lidar.sparse.tensor import SparseTensor


def native_layout(
    weight: Float[Tensor, "a b c d e"], shape: Sequence[int]
) -> Float[Tensor, "out_channels kz ky kx in_channels"]:
    """Convolution weights as [Cout, kz, ky, kx, Cin].

    spconv 1 wrote [kz, ky, kx, Cin, Cout]; such a tensor is recognised by its shape. Where both
    readings fit, the weight is taken as it is. A different Cin alone does not hide the layout.

    Args:
        weight: Weights in either layout.
        shape: The wanted shape.

    Returns:
        The weight, permuted if only that gives the wanted shape.
    """
    wanted = tuple(shape)
    moved = weight.permute(4, 0, 1, 2, 3)
    for size in (5, 4):
        for candidate in (weight, moved):
            if tuple(candidate.shape)[:size] == wanted[:size]:
                return candidate.contiguous()
    return weight


class SparseConvBase(nn.Module):
    """Weights [Cout, kz, ky, kx, Cin] (OpenPCDet with spconv 2) and the shared forward pass."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = True,
    ) -> None:
        """Build the layer.

        Args:
            in_channels: Input width.
            out_channels: Output width.
            kernel_size: Kernel z, y, x, or one size for all.
            stride: Stride z, y, x.
            padding: Padding z, y, x.
            bias: Add a learnt bias.
        """
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _triple(kernel_size)
        self.stride = _triple(stride)
        self.padding = _triple(padding)
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming-uniform weights and uniform bias, as `torch.nn.Conv3d`."""
        bound = 1 / math.sqrt(max(self.in_channels * math.prod(self.kernel_size), 1))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Sizes for printing."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )

    def convolve(
        self,
        feats: Float[Tensor, "inputs in_channels"],
        kernel_map: KernelMap,
        *,
        inverse: bool = False,
    ) -> Float[Tensor, "outputs out_channels"]:
        """Convolve with a given map; under autocast in its type."""
        weight, bias = self.weight.flatten(1, 3).permute(1, 2, 0), self.bias
        device = feats.device.type
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
            feats, weight = feats.to(kind), weight.to(kind)
        return sparse_convolution(feats, weight, bias, kernel_map, inverse=inverse)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        name = prefix + "weight"
        if name in state_dict and state_dict[name].ndim == 5:
            state_dict[name] = native_layout(state_dict[name], self.weight.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SubMConv3d(SparseConvBase):
    """Submanifold convolution: outputs at the input voxels only; equals a zero-padded dense
    convolution read at those voxels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        *,
        bias: bool = True,
    ) -> None:
        """Build the layer; arguments as in `SparseConvBase`."""
        kernel = _triple(kernel_size)
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            padding=tuple(size // 2 for size in kernel),
            bias=bias,
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve; voxels stay."""
        return x.with_feats(self.convolve(x.feats, submanifold_map(x.sites, self.kernel_size)))


class SparseConv3d(SparseConvBase):
    """Strided convolution: outputs at every cell that an input voxel reaches; equals the dense
    convolution read there (without bias, the dense result is zero elsewhere)."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve to the coarser grid."""
        kernel_map, sites = strided_map(x.sites, self.kernel_size, self.stride, self.padding)
        return SparseTensor.at(sites, self.convolve(x.feats, kernel_map))


class SparseInverseConv3d(SparseConvBase):
    """Inverse of a strided convolution: back to its input voxels over the same pairs; equals a
    dense transposed convolution read there."""

    def forward(self, x: SparseTensor, target: SparseTensor) -> SparseTensor:
        """Convolve to the voxels of `target`.

        Args:
            x: Coarse tensor, on the voxels that a strided convolution of this kernel, stride and
                padding makes of the target's.
            target: Tensor whose voxels are wanted; its features are not read.

        Returns:
            Features at the target's voxels.

        Raises:
            ValueError: If `x` does not stem from the target's voxels.
        """
        kernel_map, sites = strided_map(target.sites, self.kernel_size, self.stride, self.padding)
        if x.sites is not sites and not torch.equal(x.coords, sites.coords):
            raise ValueError(
                f"{len(x)} coarse voxels are not those ({len(sites)}) that kernel "
                f"{self.kernel_size}, stride {self.stride}, padding {self.padding} makes of the "
                "target; use the sizes of the strided convolution that this layer inverts"
            )
        return target.with_feats(self.convolve(x.feats, kernel_map, inverse=True))


class VoxelBatchNorm(JointBatchNorm, nn.BatchNorm1d):
    """Batch norm over voxels that also trains on batches of one voxel or none.

    One voxel is its own mean: the output is the bias, the running mean moves, the running variance
    (unbiased, undefined for one value) does not. No voxel changes nothing. Across processes the
    voxels of all of them count.
    """

    def forward(self, input: Float[Tensor, "voxels channels"]) -> Float[Tensor, "voxels channels"]:
        """Normalise each channel."""
        if not self.training or self.joint or len(input) > 1:
            return super().forward(input)
        if len(input) and self.running_mean is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum or 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(input.detach()[0].to(self.running_mean.dtype), momentum)
        centred = (input - input.mean(0)) if len(input) else input
        return (centred * self.weight + self.bias).to(input.dtype)


class SparseSequential(nn.Sequential):
    """Modules in a row; those that are not sparse themselves act on the features."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply every module."""
        for module in self:
            if isinstance(module, nn.BatchNorm1d | nn.SyncBatchNorm | nn.ReLU):
                x = x.with_feats(module(x.feats))
            else:
                x = module(x)
        return x


def _triple(size: int | Sequence[int]) -> Triple:
    if isinstance(size, int):
        return size, size, size
    z, y, x = size
    return z, y, x
