"""Multi-layer perceptron with a sharp softplus that keeps one tensor a layer."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

THRESHOLD = 40.0
"""Above this softplus is the identity; exp(-40) is below the rounding of float64."""


class _SoftplusInPlace(torch.autograd.Function):
    """softplus written over its input, gradient from the output: dy/dx = 1 - exp(-beta y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float) -> Tensor:
        ctx.mark_dirty(x)
        torch.ops.aten.softplus.out(x, beta, THRESHOLD, out=x)
        ctx.save_for_backward(x)
        ctx.beta = beta
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        slope = torch.mul(y, -ctx.beta).expm1_().neg_()
        return slope.mul_(grad), None


def softplus(x: Float[Tensor, "*shape"], beta: float) -> Float[Tensor, "*shape"]:
    """log(1 + exp(beta x)) / beta, the literal form of `softplus_in_place`."""
    return functional.softplus(x, beta, THRESHOLD)


def softplus_in_place(x: Float[Tensor, "*shape"], beta: float) -> Float[Tensor, "*shape"]:
    """Softplus that overwrites x, which must be a fresh result nobody else keeps.

    The next linear layer keeps the output anyway, so a layer costs one saved tensor, not two.
    """
    out: Tensor = _SoftplusInPlace.apply(x, beta)  # type: ignore[no-untyped-call]
    return out


def mlp(widths: Sequence[int], *, last_activation: bool = False) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Args:
        widths: Input width, then the width of every layer.
        last_activation: ReLU after the last layer too.
    """
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers.append(nn.Linear(inputs, outputs))
        if last_activation or i < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)
