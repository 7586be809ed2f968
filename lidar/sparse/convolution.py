"""The sparse convolution: out[i] = sum_k W_k in[j] over the pairs (j, i) of a kernel map."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lidar.sparse.kernel_map import KernelMap


def sparse_convolution(
    feats: Float[Tensor, "inputs in_channels"],
    weight: Float[Tensor, "offsets in_channels out_channels"],
    kernel_map: KernelMap,
) -> Float[Tensor, "outputs out_channels"]:
    """Cross-correlation over occupied voxels, with a hand-written backward pass.

    out[i] = sum_k in[j] W_k over pairs (j, i) of offset k. Products may be bf16 or fp16; the sum
    over offsets is fp32 at least.

    Args:
        feats: Input features, one row per input voxel.
        weight: One matrix per kernel offset.
        kernel_map: Pairs of input and output rows.

    Returns:
        Output features in the type of `feats`.
    """
    result: Tensor = _SparseConvolution.apply(feats, weight, kernel_map)
    return result


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feats: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.kernel_map = kernel_map
        return _correlate(feats, weight, kernel_map)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feats, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_feats = grad_weight = None
        if ctx.needs_input_grad[0]:
            backwards = ctx.kernel_map.transposed()
            grad_feats = _correlate(grad, weight.transpose(1, 2), backwards)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(feats, grad, ctx.kernel_map).to(weight.dtype)
        return grad_feats, grad_weight, None


def _correlate(feats: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    wide = torch.promote_types(feats.dtype, torch.float32)
    if kernel_map.identity is None:
        total = feats.new_zeros(kernel_map.num_out, weight.shape[2], dtype=wide)
    else:
        total = torch.mm(feats, weight[kernel_map.identity]).to(wide)
    start = 0
    for offset, count in enumerate(kernel_map.counts):
        if count and offset != kernel_map.identity:
            pairs = slice(start, start + count)
            rows = feats.index_select(0, kernel_map.in_rows[pairs])
            product = torch.mm(rows, weight[offset]).to(wide)
            total.index_add_(0, kernel_map.out_rows[pairs], product)
        start += count
    return total.to(feats.dtype)


def _weight_gradient(feats: Tensor, grad: Tensor, kernel_map: KernelMap) -> Tensor:
    wide = torch.promote_types(feats.dtype, torch.float32)
    result = feats.new_zeros(len(kernel_map.counts), feats.shape[1], grad.shape[1], dtype=wide)
    start = 0
    for offset, count in enumerate(kernel_map.counts):
        if offset == kernel_map.identity:
            result[offset] = torch.mm(feats.t(), grad)
        elif count:
            pairs = slice(start, start + count)
            rows = feats.index_select(0, kernel_map.in_rows[pairs])
            result[offset] = torch.mm(rows.t(), grad.index_select(0, kernel_map.out_rows[pairs]))
        start += count
    return result
