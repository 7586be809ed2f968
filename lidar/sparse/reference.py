"""Sparse convolutions as one would explain them: slow, in loops, for tests and for reading."""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Cell = tuple[int, int, int, int]


def reference_convolution(
    coords: Int[Tensor, "inputs 4"],
    feats: Float[Tensor, "inputs in_channels"],
    weight: Float[Tensor, "out_channels kz ky kx in_channels"],
    out_coords: Int[Tensor, "outputs 4"],
    *,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
) -> Float[Tensor, "outputs out_channels"]:
    """out[i] = sum over k of W_k in[j] where coord_j = stride coord_i - padding + k.

    Args:
        coords: Occupied input voxels, b z y x.
        feats: Their features.
        weight: Kernel.
        out_coords: Output voxels: the inputs for a submanifold convolution, else
            `reference_outputs`.
        stride: Stride z, y, x.
        padding: Padding z, y, x.

    Returns:
        Output features.
    """
    row_of = {_cell(voxel): row for row, voxel in enumerate(coords.tolist())}
    rows = []
    for b, z, y, x in out_coords.tolist():
        total = feats.new_zeros(weight.shape[0])
        for tap in itertools.product(*(range(size) for size in weight.shape[1:4])):
            source = [
                stride[axis] * cell - padding[axis] + tap[axis]
                for axis, cell in enumerate((z, y, x))
            ]
            row = row_of.get(_cell([b, *source]))
            if row is not None:
                total = total + weight[:, tap[0], tap[1], tap[2]] @ feats[row]
        rows.append(total)
    return torch.stack(rows) if rows else feats.new_zeros(0, weight.shape[0])


def reference_outputs(
    coords: Int[Tensor, "inputs 4"],
    shape: Sequence[int],
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Int[Tensor, "outputs 4"]:
    """Cells of a strided convolution that an input voxel reaches, in key order.

    Args:
        coords: Occupied input voxels, b z y x.
        shape: Input grid D H W.
        kernel: Kernel sizes z, y, x.
        stride: Stride z, y, x.
        padding: Padding z, y, x.

    Returns:
        Output voxels b z y x.
    """
    sizes = [
        (size + 2 * pad - taps) // step + 1
        for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=True)
    ]
    reached: set[Cell] = set()
    for b, *voxel in coords.tolist():
        for tap in itertools.product(*(range(size) for size in kernel)):
            scaled = [voxel[axis] + padding[axis] - tap[axis] for axis in range(3)]
            cell = [scaled[axis] // stride[axis] for axis in range(3)]
            whole = all(scaled[axis] % stride[axis] == 0 for axis in range(3))
            if whole and all(0 <= cell[axis] < sizes[axis] for axis in range(3)):
                reached.add(_cell([b, *cell]))
    return torch.tensor(sorted(reached), dtype=torch.int32).reshape(-1, 4)


def _cell(numbers: Sequence[int]) -> Cell:
    b, z, y, x = numbers
    return b, z, y, x
