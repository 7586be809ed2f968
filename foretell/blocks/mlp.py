"""Multi-layer perceptrons: a plain one, and a softplus one that keeps one tensor a layer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

THRESHOLD = 40.0
"""Above this softplus is the identity; exp(-40) is below the rounding of float64."""
TILE_ROWS = 2048
"""Rows a CPU thread takes through all layers at once, so that they stay in its cache."""


def softplus(x: Float[Tensor, "*shape"], beta: float) -> Float[Tensor, "*shape"]:
    """log(1 + exp(beta x)) / beta."""
    return functional.softplus(x, beta, THRESHOLD)


class _SoftplusMlp(torch.autograd.Function):
    """Keeps y_l = softplus(..) of every hidden layer; the slope is 1 - exp(-beta y_l)."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, beta: float, tap: int, dtype: torch.dtype, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights = [p.to(dtype) for p in parameters[::2]]
        biases = [p.to(dtype) for p in parameters[1::2]]
        kept = [first.new_empty(len(first), w.shape[1], dtype=dtype) for w in weights]
        out = first.new_empty(len(first), len(weights[-1]), dtype=dtype)
        for tile in _tiles(first):
            hidden = first[tile].to(dtype)
            for y, weight, bias in zip(kept, weights, biases, strict=True):
                torch.ops.aten.softplus.out(hidden, beta, THRESHOLD, out=y[tile])
                hidden = torch.addmm(bias, y[tile], weight.T)
            out[tile] = hidden
        ctx.save_for_backward(*kept, *weights)
        ctx.beta, ctx.tap, ctx.first_dtype = beta, tap, first.dtype
        ctx.parameter_dtypes = [p.dtype for p in parameters]
        ctx.set_materialize_grads(False)
        return kept[tap], out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_tap: Tensor | None, grad_out: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # once: checkpointing refuses a second look
        half = len(saved) // 2
        kept, weights = saved[:half], saved[half:]
        grads = [torch.zeros_like(t) for w in weights for t in (w, w[:, 0])]
        grad_first = torch.empty_like(kept[0], dtype=ctx.first_dtype)
        for tile in _tiles(kept[0]):
            size = len(kept[0][tile])
            grad = weights[-1].new_zeros(size, len(weights[-1]))
            if grad_out is not None:
                grad = grad_out[tile]
            for layer in reversed(range(half)):
                y = kept[layer][tile]
                grads[2 * layer].addmm_(grad.T, y)
                grads[2 * layer + 1].add_(grad.sum(0))
                grad = grad @ weights[layer]
                if layer == ctx.tap and grad_tap is not None:
                    grad += grad_tap[tile]
                grad = torch.mul(y, -ctx.beta).expm1_().neg_().mul_(grad)
            grad_first[tile] = grad
        cast = [g.to(dtype) for g, dtype in zip(grads, ctx.parameter_dtypes, strict=True)]
        return (grad_first, None, None, None, *cast)


def _tiles(rows: Tensor) -> list[slice]:
    size = TILE_ROWS * torch.get_num_threads() if rows.device.type == "cpu" else len(rows)
    return [slice(i, i + size) for i in range(0, len(rows), max(1, size))]


def softplus_mlp(
    first: Float[Tensor, "rows width"],
    layers: Sequence[nn.Linear],
    *,
    beta: float,
    tap: int,
) -> tuple[Float[Tensor, "rows tapped"], Float[Tensor, "rows outputs"]]:
    """y_0 = softplus(first), y_l+1 = softplus(layer_l(y_l)), out = layer_last(y_last).

    The same as `softplus_mlp_naive`, tile by tile, with one tensor kept for each hidden layer
    instead of two. Follows autocast.

    Args:
        first: Pre-activation of the first hidden layer.
        layers: Linear layers after it, the output layer last.
        beta: Sharpness of the softplus.
        tap: Which y is returned too.
    """
    device = first.device.type
    half = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if half else first.dtype
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    with torch.autocast(device, enabled=False):
        result: tuple[Tensor, Tensor] = _SoftplusMlp.apply(  # type: ignore[no-untyped-call]
            first, beta, tap, dtype, *parameters
        )
    return result


def softplus_mlp_naive(
    first: Float[Tensor, "rows width"],
    layers: Sequence[nn.Linear],
    *,
    beta: float,
    tap: int,
) -> tuple[Float[Tensor, "rows tapped"], Float[Tensor, "rows outputs"]]:
    """The literal form of `softplus_mlp`."""
    hidden = [softplus(first, beta)]
    for layer in layers[:-1]:
        hidden.append(softplus(layer(hidden[-1]), beta))
    return hidden[tap], layers[-1](hidden[-1])


def mlp(
    widths: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    last_activation: bool = False,
) -> nn.Sequential:
    """Linear layers with an activation between them.

    Args:
        widths: Input width, then the width of every layer.
        activation: Makes what stands between the layers.
        last_activation: After the last layer too.
    """
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers.append(nn.Linear(inputs, outputs))
        if last_activation or i < len(widths) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)
