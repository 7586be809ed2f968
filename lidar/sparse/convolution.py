"""The sparse convolution: out[i] = sum_k in[j] W_k over the pairs (j, i) of a kernel map."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lidar.sparse.kernel_map import KernelMap
from lidar.sparse.tiles import Tile


def sparse_convolution(
    feats: Float[Tensor, "inputs in_channels"],
    weight: Float[Tensor, "offsets in_channels out_channels"],
    bias: Float[Tensor, " out_channels"] | None,
    kernel_map: KernelMap,
    *,
    inverse: bool = False,
) -> Float[Tensor, "outputs out_channels"]:
    """Cross-correlation over occupied voxels, with a hand-written backward pass.

    out[i] = bias + sum_k in[j] W_k over the pairs (j, i) of offset k. Products may be bf16 or, on
    CUDA, fp16; the sum over offsets and the gradients of weight and bias are at least fp32.

    Args:
        feats: Input features, one row per input voxel.
        weight: One matrix per kernel offset.
        bias: Added to every output, or none.
        kernel_map: Pairs of input and output rows.
        inverse: Read the pairs from output to input (transposed convolution).

    Returns:
        Output features in the type of `feats`.
    """
    kind = feats.dtype
    if kind == torch.float16 and feats.device.type == "cpu":
        # There fp16 products are many times slower than fp32 ones, and they overflow at 65504.
        feats, weight = feats.float(), weight.float()
    result: Tensor = _SparseConvolution.apply(  # type: ignore[no-untyped-call]
        feats, weight, bias, kernel_map, inverse
    )
    return result.to(kind)


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        feats: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        kernel_map: KernelMap,
        inverse: bool,
    ) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.kernel_map, ctx.inverse = kernel_map, inverse
        return _correlate(feats, weight, bias, kernel_map.tiles(inverse))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        feats, weight = ctx.saved_tensors
        wants_feats, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad = grads[0].contiguous()
        grad_feats = grad_weight = None
        if wants_feats or wants_weight:
            grad_feats, grad_weight = _backward(
                feats, grad, weight, ctx.kernel_map, ctx.inverse, (wants_feats, wants_weight)
            )
        grad_bias = grad.sum(0, dtype=_wide(grad)) if wants_bias else None
        return grad_feats, grad_weight, grad_bias, None, None


def _correlate(
    feats: Tensor, weight: Tensor, bias: Tensor | None, tiles: tuple[Tile, ...]
) -> Tensor:
    out = feats.new_empty(tiles[-1].last if tiles else 0, weight.shape[2])
    matrices = weight.unbind(0)
    gathered, products = _buffers(feats, weight.shape[2], tiles)
    for tile in tiles:
        rows = torch.index_select(feats, 0, tile.in_rows, out=gathered[: len(tile.in_rows)])
        for offset, start, stop in tile.blocks:
            block = _block(feats, rows, tile, start, stop)
            _multiply(block, matrices[offset], products[start:stop])
        _sum_rows(products, tile, bias, out[tile.first : tile.last])
    return out


def _backward(
    feats: Tensor,
    grad: Tensor,
    weight: Tensor,
    kernel_map: KernelMap,
    inverse: bool,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of input and weight in one sweep over the pairs read backwards.

    The pair (j, i) of offset k hands grad[i] W_k^T to input j and in[j]^T grad[i] to W_k. Tiles run
    over j, so that grad[i] is gathered once and in[j] comes from the tile.
    """
    wants_feats, wants_weight = wanted
    tiles, matrices = kernel_map.tiles(not inverse), weight.transpose(1, 2).unbind(0)
    grad_feats = torch.empty_like(feats)
    grad_weight = torch.zeros(weight.shape, dtype=_wide(feats), device=feats.device)
    gathered, products = _buffers(grad, feats.shape[1], tiles)
    sources = feats.new_empty(len(gathered), feats.shape[1])
    for tile in tiles:
        rows = torch.index_select(grad, 0, tile.in_rows, out=gathered[: len(tile.in_rows)])
        if wants_weight:
            own = feats[tile.first : tile.last]
            paired = torch.index_select(own, 0, tile.local_rows, out=sources[: len(rows)])
        for offset, start, stop in tile.blocks:
            block = _block(grad, rows, tile, start, stop)
            # A submanifold map read backwards is itself with the offsets reversed.
            tap = offset if kernel_map.identity is None else len(matrices) - 1 - offset
            if wants_feats:
                _multiply(block, matrices[tap], products[start:stop])
            if wants_weight:
                source = _block(feats, paired, tile, start, stop)
                _accumulate(source.t(), block, grad_weight[tap])
        if wants_feats:
            _sum_rows(products, tile, None, grad_feats[tile.first : tile.last])
    return grad_feats if wants_feats else None, grad_weight if wants_weight else None


def _wide(rows: Tensor) -> torch.dtype:
    """At least fp32: sums over offsets lose too much in half precision."""
    return torch.promote_types(rows.dtype, torch.float32)


def _buffers(rows: Tensor, width: int, tiles: tuple[Tile, ...]) -> tuple[Tensor, Tensor]:
    """Space for the gathered rows and the products of any tile; fresh pages are dear."""
    gathered = rows.new_empty(max((len(tile.in_rows) for tile in tiles), default=0), rows.shape[1])
    most = max((tile.num_pairs for tile in tiles), default=0)
    products = rows.new_empty(most, width, dtype=_wide(rows))
    return gathered, products


def _block(table: Tensor, gathered: Tensor, tile: Tile, start: int, stop: int) -> Tensor:
    if start < tile.identity:
        return table[tile.first : tile.last]
    return gathered[start - tile.identity : stop - tile.identity]


def _multiply(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    if rows.dtype == out.dtype:
        torch.mm(rows, matrix, out=out)
    else:
        out.copy_(torch.mm(rows, matrix))


def _accumulate(left: Tensor, right: Tensor, total: Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)


def _sum_rows(products: Tensor, tile: Tile, bias: Tensor | None, out: Tensor) -> None:
    """Sum the products of each output row of a tile."""
    if not tile.num_pairs:
        out.zero_() if bias is None else out.copy_(bias.expand_as(out))
        return
    total = torch.embedding_bag(products, tile.bags, tile.bag_starts, mode=0)[0]
    if bias is None:
        out.copy_(total)
    elif out.dtype == total.dtype:
        torch.add(total, bias, out=out)
    else:
        out.copy_(total + bias)
