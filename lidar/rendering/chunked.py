"""A sum over chunks of rays whose gradient needs the memory of one chunk.

The loss is a sum over rays with denominators known in advance, so its gradient is the sum of the
chunks' gradients. They are taken while the sum is computed; the result is an ordinary scalar whose
backward hands the collected gradients on. Nothing else changes for the caller: optimiser, gradient
scaling, accumulation and distributed training see a plain loss.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ChunkLoss = Callable[..., tuple[Tensor, Tensor]]
"""(rays, *inputs) -> loss of these rays (a scalar), figures to log (a vector, no gradient)."""


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: ChunkLoss, parts: list[slice], num_inputs: int, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        leaves = [t.detach().requires_grad_(t.requires_grad) for t in tensors[:num_inputs]]
        sources = [t for t in (*leaves, *tensors[num_inputs:]) if t.requires_grad]
        sums: list[Tensor | None] = [None] * len(sources)
        totals = []
        with torch.enable_grad():
            for part in parts:
                total, figures = loss(part, *leaves)
                for i, grad in enumerate(torch.autograd.grad(total, sources, allow_unused=True)):
                    known = sums[i]
                    if grad is not None:
                        sums[i] = grad if known is None else known + grad
                totals.append((total.detach(), figures.detach()))
                del total, figures
        collected = iter(sums)
        ctx.gradients = [
            next(collected) if t.requires_grad else None for t in (*leaves, *tensors[num_inputs:])
        ]
        return (
            torch.stack([total for total, _ in totals]).sum(),
            torch.stack([figures for _, figures in totals]).sum(0),
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _figures: Tensor) -> tuple[Tensor | None, ...]:
        given = [None if g is None else g * grad.to(g.dtype) for g in ctx.gradients]
        return (None, None, None, *given)


def chunked_sum(
    loss: ChunkLoss,
    num_rays: int,
    chunk: int,
    *,
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """Sum a loss over chunks of rays.

    Args:
        loss: Called as `loss(slice of rays, *inputs)`.
        num_rays: Rays in all.
        chunk: Rays at once; 0 or at least num_rays = one plain call.
        inputs: Tensors the loss depends on, which come from further back in the graph.
        parameters: Parameters the loss uses by itself.

    Returns:
        The summed loss and the summed figures.
    """
    if chunk <= 0 or chunk >= num_rays:
        return loss(slice(0, num_rays), *inputs)
    parts = [slice(start, start + chunk) for start in range(0, num_rays, chunk)]
    if not torch.is_grad_enabled():
        pieces = [loss(part, *inputs) for part in parts]
        return (
            torch.stack([total for total, _ in pieces]).sum(),
            torch.stack([figures for _, figures in pieces]).sum(0),
        )
    result: tuple[Tensor, Tensor] = _ChunkedSum.apply(  # type: ignore[no-untyped-call]
        loss, parts, len(inputs), *inputs, *parameters
    )
    return result
