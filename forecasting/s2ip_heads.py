"""From the backbone's outputs [series, K + N_P, D] to the forecast of each series."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Head = Literal["published", "flatten", "patches", "last", "mean", "components"]
PARTS = 3
"""Trend, season, residual."""


class S2ipHead(nn.Module):
    """One linear map, on what the kind reads.

    published: all numbers in three contiguous thirds (early, middle, late tokens), each through
    the same map, summed: a map of the sum of thirds and three biases. flatten: a map of all
    numbers, which is also the paper's map to 3 H, split and summed. patches: of the patch tokens.
    last, mean: of one token. components: a map of all numbers to three forecasts.

    Args:
        kind: Which.
        prefix: K, tokens before the patches.
        tokens: N_P.
        dim: D.
        horizon: H.

    Raises:
        ValueError: published, and the numbers are not a multiple of three.
    """

    def __init__(self, kind: Head, *, prefix: int, tokens: int, dim: int, horizon: int) -> None:
        super().__init__()
        self.kind, self.prefix, self.horizon = kind, prefix, horizon
        numbers = (prefix + tokens) * dim
        if kind == "published" and numbers % PARTS:
            raise ValueError(
                f"head published cuts ({prefix} + {tokens}) tokens of {dim} numbers into thirds, "
                f"and {numbers} is no multiple of three: change retrieved, patch_length or stride, "
                "or take head flatten"
            )
        width = {
            "published": numbers // PARTS, "patches": tokens * dim, "last": dim, "mean": dim,
        }.get(kind, numbers)  # fmt: skip
        self.linear = nn.Linear(width, PARTS * horizon if kind == "components" else horizon)

    def forward(
        self, hidden: Float[Tensor, "series tokens dim"]
    ) -> Float[Tensor, "series parts horizon"]:
        """Forecast, of components three whose sum it is, else one."""
        match self.kind:
            case "published":
                thirds = hidden.flatten(1).unflatten(1, (PARTS, -1)).sum(1)
                forecast = self.linear(thirds) + (PARTS - 1) * self.linear.bias
            case "patches":
                forecast = self.linear(hidden[:, self.prefix :].flatten(1))
            case "last":
                forecast = self.linear(hidden[:, -1])
            case "mean":
                forecast = self.linear(hidden.mean(1))
            case _:
                forecast = self.linear(hidden.flatten(1))
        parts: Tensor = forecast.unflatten(1, (-1, self.horizon))
        return parts


def published_head_naive(
    head: S2ipHead, hidden: Float[Tensor, "series tokens dim"]
) -> Float[Tensor, "series horizon"]:
    """The published head as it is written: three slices, the same map, a sum."""
    flat = hidden.flatten(1)
    third = flat.shape[1] // PARTS
    slices = [flat[:, place * third : (place + 1) * third] for place in range(PARTS)]
    return torch.stack([head.linear(part) for part in slices]).sum(0)
