"""Trilinear interpolation of feature volumes at fractional cell numbers.

`interpolate` is the literal form (grid_sample). `gather_corners` is the fast one: with cells as
contiguous rows, one `embedding_bag` call sums the eight weighted corner rows of every query. Its
backward sorts the (query, corner) pairs by row and is again one `embedding_bag`, a gather instead
of a scatter: deterministic, without atomics, and three times faster than the built-in one on CPU.
`gather_occupied` does the same for sparse volumes, whose empty cells cost nothing.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.nn import functional

Padding = Literal["zeros", "border"]
MAX_INT32 = 2**31 - 1


def interpolate(
    volume: Float[Tensor, "batch channels depth height width"],
    index: Float[Tensor, "batch *queries 3"],
    *,
    padding: Padding = "zeros",
) -> Float[Tensor, "batch *queries channels"]:
    """Interpolate with `torch.nn.functional.grid_sample`.

    Args:
        volume: Features.
        index: Fractional cell numbers x y z.
        padding: Features outside: zeros, or those of the nearest border cell.
    """
    size = index.new_tensor(volume.shape[:1:-1])
    grid = ((2 * index + 1) / size - 1).reshape(len(index), 1, 1, -1, 3)
    out = functional.grid_sample(volume, grid, padding_mode=padding, align_corners=False)
    return out.flatten(2).transpose(1, 2).reshape(*index.shape[:-1], volume.shape[1])


def cell_rows(
    volume: Float[Tensor, "batch channels depth height width"],
) -> Float[Tensor, "cells channels"]:
    """Cells as rows: free for a channels-last volume, one copy otherwise."""
    return volume.permute(0, 2, 3, 4, 1).reshape(-1, volume.shape[1])


def corner_rows(
    index: Float[Tensor, "batch *queries 3"],
    shape_dhw: tuple[int, int, int],
    *,
    padding: Padding = "zeros",
) -> tuple[Int[Tensor, "flat_queries 8"], Float[Tensor, "flat_queries 8"]]:
    """Rows and weights of the eight corners around each query.

    Args:
        index: Fractional cell numbers x y z, finite.
        shape_dhw: Cells along z, y, x; row = ((b D + z) H + y) W + x.
        padding: See `interpolate`.

    Returns:
        Row numbers, int32 where all fit, and weights; a corner outside the volume has weight 0 and
        a row inside.
    """
    batch = len(index)
    kind = torch.int32 if batch * math.prod(shape_dhw) <= MAX_INT32 else torch.int64
    flat = index.reshape(batch, -1, 3)
    rows: Tensor | None = None
    weights: Tensor | None = None
    for axis, cells in zip((2, 1, 0), shape_dhw, strict=True):
        u = flat[..., axis]
        u = u.clamp(0, cells - 1) if padding == "border" else u.clamp(-2, cells + 1)
        low = u.floor()
        fraction = u - low
        pair = torch.stack([low, low + 1], dim=-1)
        weight = torch.stack([1 - fraction, fraction], dim=-1)
        if padding == "zeros":
            weight = weight * ((pair >= 0) & (pair <= cells - 1))
        at = pair.clamp(0, cells - 1).to(kind)
        if rows is None or weights is None:
            first = torch.arange(batch, device=index.device, dtype=kind) * cells
            rows, weights = at + first[:, None, None], weight
        else:
            rows = (rows[..., None] * cells + at[..., None, :]).flatten(2)
            weights = (weights[..., None] * weight[..., None, :]).flatten(2)
    assert rows is not None and weights is not None
    return rows.reshape(-1, 8), weights.reshape(-1, 8)


def _sum_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    return functional.embedding_bag(rows.long(), table, per_sample_weights=weights, mode="sum")


def _scatter_rows(grad: Tensor, rows: Tensor, weights: Tensor, num_rows: int) -> Tensor:
    """Adjoint of `_sum_rows`."""
    by_row, order = rows.reshape(-1).sort()
    sorted_weights = weights.reshape(-1)[order]
    query = order.div_(rows.shape[1], rounding_mode="floor")
    return _sum_by_row(grad, query, by_row, sorted_weights, num_rows)


def _sum_by_row(
    grad: Tensor, query: Tensor, by_row: Tensor, weights: Tensor, num_rows: int
) -> Tensor:
    """Pairs (query, row) sorted by row: a gather over the queries of each row."""
    counts = torch.bincount(by_row, minlength=num_rows)
    return functional.embedding_bag(
        query, grad.contiguous(), counts.cumsum(0) - counts, per_sample_weights=weights, mode="sum"
    )


class _GatherAlongRays(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: Tensor, lines: Tensor, rows: Tensor, weights: Tensor, ranges: Tensor
    ) -> Tensor:
        factors = torch.stack([torch.ones_like(ranges), ranges], dim=-1)
        out = _sum_rows(table, rows, weights)
        out.view(*ranges.shape, table.shape[1]).baddbmm_(factors, lines)
        ctx.save_for_backward(rows, weights, factors)
        ctx.num_rows = table.shape[0]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        rows, weights, factors = ctx.saved_tensors
        grad_table = None
        if ctx.needs_input_grad[0]:
            grad_table = _scatter_rows(grad, rows, weights, ctx.num_rows)
        per_ray = grad.view(*factors.shape[:2], grad.shape[1])
        return grad_table, factors.transpose(1, 2) @ per_ray, None, None, None


def gather_along_rays(
    table: Float[Tensor, "rows channels"],
    lines: Float[Tensor, "rays 2 channels"],
    rows: Int[Tensor, "queries 8"],
    weights: Float[Tensor, "queries 8"],
    ranges: Float[Tensor, "rays samples"],
) -> Float[Tensor, "queries channels"]:
    """Corner sums plus a term linear in the range: sum_k w_k table[row_k] + lines_0 + r lines_1.

    Args:
        table: Cells of the volume as rows.
        lines: Offset and slope of each ray.
        rows: Corners of every sample, rays outermost.
        weights: Their weights, in the dtype of the table; constants.
        ranges: r of every sample; constants.
    """
    out: Tensor = _GatherAlongRays.apply(  # type: ignore[no-untyped-call]
        table, lines, rows, weights, ranges
    )
    return out


class OccupiedCorners(NamedTuple):
    """The occupied ones among the eight corners of every query, queries one after the other."""

    rows: Int64[Tensor, " pairs"]
    """Row of each corner in the table of occupied cells."""
    weights: Float[Tensor, " pairs"]
    """Trilinear weight of each corner."""
    counts: Int64[Tensor, " queries"]
    """Corners of each query, 0 to 8."""


def occupied_corners(
    index: Float[Tensor, "batch *queries 3"],
    occupied: Int64[Tensor, " rows"],
    shape_dhw: tuple[int, int, int],
    *,
    padding: Padding = "zeros",
) -> OccupiedCorners:
    """Corners of queries in a sparse volume, without the empty ones.

    Args:
        index: Fractional cell numbers x y z, finite.
        occupied: Cell of each row of the table, ascending; cells as in `corner_rows`.
        shape_dhw: Cells along z, y, x.
        padding: See `interpolate`.
    """
    wanted, weights = corner_rows(index, shape_dhw, padding=padding)
    if not len(occupied):
        nothing = wanted.new_zeros(0, dtype=torch.int64)
        return OccupiedCorners(nothing, weights.new_zeros(0), nothing.new_zeros(len(wanted)))
    wanted = wanted.long()
    rows = torch.searchsorted(occupied, wanted).clamp_(max=len(occupied) - 1)
    kept = (occupied[rows] == wanted) & (weights > 0)
    pairs = kept.flatten().nonzero()[:, 0]
    return OccupiedCorners(rows.flatten()[pairs], weights.flatten()[pairs], kept.sum(1))


class _GatherOccupied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights, counts)
        ctx.num_rows = table.shape[0]
        starts = counts.cumsum(0) - counts
        return functional.embedding_bag(rows, table, starts, per_sample_weights=weights, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        rows, weights, counts = ctx.saved_tensors
        by_row, order = rows.sort()
        query = torch.repeat_interleave(counts, output_size=len(rows))[order]
        return _sum_by_row(grad, query, by_row, weights[order], ctx.num_rows), None, None, None


def gather_occupied(
    table: Float[Tensor, "rows channels"], corners: OccupiedCorners
) -> Float[Tensor, "queries channels"]:
    """Weighted sum of the occupied corners' rows, zeros without any; gradient to the table only.

    Args:
        table: Occupied cells as rows.
        corners: `occupied_corners`, weights in the dtype of the table.
    """
    out: Tensor = _GatherOccupied.apply(table, *corners)  # type: ignore[no-untyped-call]
    return out


class _ProjectAndGather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, volume: Tensor, weight: Tensor, rows: Tensor, weights: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        # The volume is alive anyway; its cells as rows may be a copy, which is not kept.
        ctx.save_for_backward(volume, weight, rows, weights)
        ctx.dtype = dtype
        cells = cell_rows(volume)
        table = cells.to(dtype) @ weight.to(dtype).T
        return table.to(weights.dtype), _sum_rows(cells.to(weights.dtype), rows, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_table: Tensor, grad_points: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        volume, weight, rows, weights = ctx.saved_tensors
        batch, channels, *shape = volume.shape
        grad_table = grad_table.to(ctx.dtype)
        per_sample = volume.flatten(2).to(ctx.dtype) @ grad_table.view(batch, -1, len(weight))
        grad_cells = (grad_table @ weight.to(ctx.dtype)).to(volume.dtype)
        spread = (weights[..., None] * grad_points[:, None]).flatten(0, 1).to(volume.dtype)
        grad_cells.index_add_(0, rows.reshape(-1), spread)
        grad_volume = grad_cells.view(batch, *shape, channels).permute(0, 4, 1, 2, 3)
        return grad_volume, per_sample.sum(0).T.to(weight.dtype), None, None, None


def project_and_gather(
    volume: Float[Tensor, "batch channels depth height width"],
    weight: Float[Tensor, "outputs channels"],
    rows: Int[Tensor, "points 8"],
    weights: Float[Tensor, "points 8"],
) -> tuple[Float[Tensor, "cells outputs"], Float[Tensor, "points channels"]]:
    """All cells times a matrix, and the cells' own features at a few points.

    One operation, because the few points' gradient is then added into that of the product instead
    of filling a volume of its own. The product follows autocast; both results are full precision.

    Args:
        volume: Features.
        weight: Matrix of the first layer.
        rows: Corners of the points.
        weights: Their weights, constants, in full precision.
    """
    device = volume.device.type
    half = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if half else volume.dtype
    with torch.autocast(device, enabled=False):
        result: tuple[Tensor, Tensor] = _ProjectAndGather.apply(  # type: ignore[no-untyped-call]
            volume, weight, rows, weights, dtype
        )
    return result


class _GatherCorners(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.num_rows = table.shape[0]
        return _sum_rows(table, rows, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        return _scatter_rows(grad, rows, weights, ctx.num_rows), None, None


def gather_corners(
    table: Float[Tensor, "rows channels"],
    rows: Int[Tensor, "queries corners"],
    weights: Float[Tensor, "queries corners"],
) -> Float[Tensor, "queries channels"]:
    """Weighted sum of table rows; the gradient reaches the table only.

    Args:
        table: Cells of the volume as rows.
        rows: Row of each corner.
        weights: Weight of each corner, in the dtype of the table; treated as a constant.
    """
    out: Tensor = _GatherCorners.apply(  # type: ignore[no-untyped-call]
        table, rows, weights
    )
    return out
