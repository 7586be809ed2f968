"""Kernel maps: which input voxel meets which output voxel under each kernel offset."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lidar.sparse.sites import MAX_KEY, Sites, Triple, pack_keys
from lidar.sparse.tiles import Tile, cut_tiles


@dataclass(frozen=True)
class KernelMap:
    """Pairs (input row, output row) grouped by kernel offset, rows ascending within an offset.

    Within one offset every input row and every output row occurs at most once.
    """

    in_rows: Int64[Tensor, " pairs"]
    """Input row of each pair."""
    out_rows: Int64[Tensor, " pairs"]
    """Output row of each pair."""
    counts: tuple[int, ...]
    """Pairs of each offset, offsets in z, y, x order."""
    num_in: int
    """Input rows."""
    num_out: int
    """Output rows."""
    identity: int | None = None
    """Offset that pairs every row with itself (the centre of a submanifold kernel)."""

    def tiles(self, inverse: bool) -> tuple[Tile, ...]:
        """Pairs by output row, or by input row when read backwards.

        A submanifold map read backwards is itself with the offsets reversed: its forward tiles
        serve both, and the caller reverses the offsets.
        """
        return self._backward if inverse and self.identity is None else self._forward

    @cached_property
    def _forward(self) -> tuple[Tile, ...]:
        return cut_tiles(
            self.in_rows,
            self.out_rows,
            self.counts,
            num_out=self.num_out,
            identity=self.identity,
        )

    @cached_property
    def _backward(self) -> tuple[Tile, ...]:
        return cut_tiles(
            self.out_rows, self.in_rows, self.counts, num_out=self.num_in, identity=None
        )


def submanifold_map(sites: Sites, kernel: Triple) -> KernelMap:
    """Map of a convolution whose outputs are its inputs' voxels; cached on the sites.

    Input of output i under offset k is the voxel at coord_i + k - kernel // 2. Half of the offsets
    are searched, the others follow by symmetry. The kernel's neighbours along x are adjacent in
    key order, so one search serves a whole line of the kernel.

    Args:
        sites: Voxels of input and output.
        kernel: Odd sizes z, y, x.

    Returns:
        The kernel map.

    Raises:
        ValueError: If a kernel size is even.
    """
    if any(size % 2 == 0 for size in kernel):
        raise ValueError(f"a submanifold kernel needs odd sizes, got {kernel}")
    if kernel not in sites.submanifold_maps:
        sites.submanifold_maps[kernel] = _build_submanifold(sites, kernel)
    return sites.submanifold_maps[kernel]


def strided_map(
    sites: Sites, kernel: Triple, stride: Triple, padding: Triple
) -> tuple[KernelMap, Sites]:
    """Map of a convolution with outputs wherever an input reaches; cached on the sites.

    Input of output i under offset k is the voxel at stride i - padding + k.

    Args:
        sites: Input voxels.
        kernel: Sizes z, y, x.
        stride: Strides z, y, x.
        padding: Paddings z, y, x.

    Returns:
        The kernel map, and the output voxels, of shape floor((D + 2 p - k) / s) + 1.

    Raises:
        ValueError: If no output cell is left, or key overflow.
    """
    key = (kernel, stride, padding)
    if key not in sites.strided_maps:
        sites.strided_maps[key] = _build_strided(sites, kernel, stride, padding)
    return sites.strided_maps[key]


def _build_submanifold(sites: Sites, kernel: Triple) -> KernelMap:
    radius = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    keys = pack_keys(sites.coords, sites.shape, sites.batch_size, radius)
    height, width = sites.shape[1] + 2 * radius[1], sites.shape[2] + 2 * radius[2]
    rows = torch.arange(len(keys), device=keys.device)
    padded = torch.cat([keys, keys.new_full((1,), MAX_KEY)])  # a search may end behind the last
    found: list[Tensor] = []
    hits: list[Tensor] = []
    for dz in range(radius[0] + 1):
        for dy in range(-radius[1] if dz else 0, radius[1] + 1):
            line = (dz * height + dy) * width
            if line:
                target = keys + (line - radius[2])
                place = torch.searchsorted(keys, target)
                steps = kernel[2]
            else:  # the line of the voxel itself: only what follows it is searched
                target, place, steps = keys + 1, rows + 1, radius[2]
            for step in range(steps):
                hit = padded.index_select(0, place) == (target + step if step else target)
                found.append(place)
                hits.append(hit)
                place = place + hit
    later_out, later_in, later_counts = _compact(hits, found, rows)
    centre = (kernel[0] * kernel[1] * kernel[2]) // 2
    counts = (*reversed(later_counts), len(keys), *later_counts)
    earlier_in = later_out.split(later_counts)[::-1]
    earlier_out = later_in.split(later_counts)[::-1]
    return KernelMap(
        in_rows=torch.cat([*earlier_in, rows, later_in]),
        out_rows=torch.cat([*earlier_out, rows, later_out]),
        counts=counts,
        num_in=len(keys),
        num_out=len(keys),
        identity=centre,
    )


def _compact(
    hits: list[Bool[Tensor, " voxels"]],
    found: list[Int64[Tensor, " voxels"]],
    rows: Int64[Tensor, " voxels"],
) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"], list[int]]:
    """Rows and found partners of the hits, offset after offset."""
    if not hits:
        return rows[:0], rows[:0], []
    taps, out_rows, counts = _hits(torch.stack(hits))
    in_rows = torch.stack(found).view(-1).index_select(0, taps * len(rows) + out_rows)
    return out_rows, in_rows, counts


def _hits(
    table: Bool[Tensor, "offsets voxels"],
) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"], list[int]]:
    """Offset and voxel of each true entry, offset after offset, and how many each offset has."""
    flat = table.view(-1).nonzero().squeeze(1)
    width = table.shape[1]
    ends = torch.arange(1, len(table) + 1, device=table.device) * width
    reached = torch.searchsorted(flat, ends)
    counts = torch.cat([reached[:1], reached.diff()])
    taps = torch.repeat_interleave(torch.arange(len(table), device=table.device), counts)
    return taps, flat - taps * width, counts.tolist()


def _build_strided(
    sites: Sites, kernel: Triple, stride: Triple, padding: Triple
) -> tuple[KernelMap, Sites]:
    shape = _strided_shape(sites.shape, kernel, stride, padding)
    if sites.batch_size * shape[0] * shape[1] * shape[2] > MAX_KEY:
        raise ValueError(f"a batch of {sites.batch_size} grids of {shape} overflows int64 keys")
    parts, reached = [], torch.ones(1, len(sites), dtype=torch.bool, device=sites.coords.device)
    for axis in range(3):
        offsets = torch.arange(kernel[axis], device=reached.device).unsqueeze(1)
        scaled = sites.coords[:, 1 + axis].long() + padding[axis] - offsets  # kernel x voxels
        cell = torch.div(scaled, stride[axis], rounding_mode="floor")
        valid = (cell * stride[axis] == scaled) & (cell >= 0) & (cell < shape[axis])
        parts.append(cell)
        reached = (reached.unsqueeze(1) & valid).flatten(0, 1)
    taps, in_rows, counts = _hits(reached)
    every = torch.arange(len(counts), device=reached.device)
    keys = sites.coords[:, 0].long().index_select(0, in_rows)
    for axis, later in enumerate((kernel[1] * kernel[2], kernel[2], 1)):
        tap = (every // later % kernel[axis]).index_select(0, taps)
        cell = parts[axis].view(-1).index_select(0, tap * len(sites) + in_rows)
        keys = keys * shape[axis] + cell
    unique, out_rows = torch.unique(keys, return_inverse=True)
    x, rows = unique % shape[2], unique // shape[2]
    y, layers = rows % shape[1], rows // shape[1]
    coords = torch.stack([layers // shape[0], layers % shape[0], y, x], 1).int()
    out_sites = Sites(coords, shape, sites.batch_size)
    kernel_map = KernelMap(in_rows, out_rows, tuple(counts), len(sites), len(out_sites))
    return kernel_map, out_sites


def _strided_shape(shape: Triple, kernel: Triple, stride: Triple, padding: Triple) -> Triple:
    depth, height, width = (
        (size + 2 * pad - taps) // step + 1
        for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=True)
    )
    if min(depth, height, width) < 1:
        raise ValueError(
            f"kernel {kernel} with stride {stride} and padding {padding} leaves no cell of a "
            f"{shape} grid (z, y, x); use a larger grid"
        )
    return depth, height, width
