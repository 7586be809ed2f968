"""The inputs inside a sliding window: how a single step reads and moves them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


class RecentInputs(NamedTuple):
    """Inputs inside a sliding window, oldest first; 0 before the sequence began."""

    x: Float[Tensor, "batch window heads width"]
    """Inputs, dt included."""
    log_a: Float[Tensor, "batch window heads"]
    """Their decays; 0 for the first input of a sequence, which has none before it."""
    B: Float[Tensor, "batch window groups state"]
    """Their directions."""


def decay_since(log_a: Float[Tensor, "batch window heads"]) -> Float[Tensor, "batch window heads"]:
    """Logarithm of the decay from each input of a window to the last one."""
    return functional.pad(log_a[:, 1:], (0, 0, 0, 1)).flip(1).cumsum(1).flip(1)


def push_recent(
    recent: RecentInputs,
    x: Float[Tensor, "batch heads width"],
    log_a: Float[Tensor, "batch heads"],
    B: Float[Tensor, "batch groups state"],
) -> RecentInputs:
    """The window one step later: the oldest input leaves."""
    news = zip(recent, (x, log_a, B), strict=True)
    return RecentInputs(*(torch.cat([old[:, 1:], new[:, None]], 1) for old, new in news))


def read_recent(
    recent: RecentInputs, C: Float[Tensor, "batch groups state"]
) -> Float[Tensor, "batch heads width"]:
    """y of the last step: sum_j (a_{j+1} ... a_t) x_j (B_j . C_t) over the window.

    2410.07145v1 subtracts the state of r steps ago instead, which loses digits where decays are
    near 1. The sum costs no more than moving the window, and forms no matrix.
    """
    after = decay_since(recent.log_a)
    scores = (recent.B * C[:, None]).sum(-1)  # [batch, window, groups]
    weights = after.exp().unflatten(2, (C.shape[1], -1)) * scores[..., None]
    y: Tensor = (weights.flatten(2)[..., None] * recent.x).sum(1)
    return y


def clear_recent(recent: RecentInputs, position: Int[Tensor, " batch"]) -> RecentInputs:
    """Exact zeros for what came before the sequence began, `position` steps ago."""
    window = recent.x.shape[1]
    step = position[:, None] - window + torch.arange(window, device=position.device)
    return RecentInputs(
        recent.x.masked_fill((step < 0)[..., None, None], 0),
        recent.log_a.masked_fill((step <= 0)[..., None], 0),
        recent.B.masked_fill((step < 0)[..., None, None], 0),
    )
