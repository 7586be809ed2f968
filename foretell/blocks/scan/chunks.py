"""Pieces that the chunked scans share: masks in the logarithm, sums of decays, chunk products.

Shapes: n chunks of Q steps, H heads of width P, their state [P, N], G groups of heads that share
B and C. Only differences of summed logarithms are exponentiated, and masked before: exp(c_i) and
exp(-c_j) alone overflow float32 after a few dozen steps of strong decay, and a mask after exp
gives inf * 0 in the backward pass.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def segment_starts(segment: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """True at the steps whose segment differs from the step before; before the first it is 0."""
    before = segment.new_zeros(len(segment), 1)
    return segment.diff(dim=1, prepend=before) != 0


def check_sizes(heads: int, groups: int, chunk_size: int, block_size: int) -> None:
    """Refuse groups that do not divide the heads, and empty chunks or blocks.

    Raises:
        ValueError: If a size does not fit.
    """
    if groups < 1 or heads % groups:
        raise ValueError(f"the groups of B and C must divide the {heads} heads, got {groups}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")


def bound_decay(log_a: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log_a where exp(log_a) is not 0 in its dtype, and the largest value with exp 0 elsewhere.

    A huge negative term would cost the small ones beside it their digits in a cumulative sum.
    """
    tiny = torch.finfo(log_a.dtype).tiny * torch.finfo(log_a.dtype).eps  # the smallest subnormal
    return log_a.clamp(min=math.log(tiny) - 1)


def log_mask(keep: Bool[Tensor, "*shape"], like: Tensor) -> Float[Tensor, "*shape"]:
    """0 where kept and -inf elsewhere, in the dtype of `like`: added before exp."""
    return torch.zeros_like(keep, dtype=like.dtype).masked_fill(~keep, -torch.inf)


def pairwise_sums(log_a: Float[Tensor, "*rest n"]) -> Float[Tensor, "*rest n n"]:
    """Sum of log_a over j < k <= i at [i, j], -inf where i < j.

    Summed for each j apart: differences of one cumulative sum lose digits over many chunks.
    """
    square = torch.ones(log_a.shape[-1], log_a.shape[-1], dtype=torch.bool, device=log_a.device)
    later = log_a[..., None].expand(*log_a.shape, log_a.shape[-1]).masked_fill(~square.tril(-1), 0)
    return later.cumsum(-2) + log_mask(square.tril(), log_a)


def to_chunks(
    steps: Float[Tensor, "batch time *rest"], size: int
) -> Float[Tensor, "batch n size *rest"]:
    """Cut time into chunks; the last one is filled with zeros, which are identity steps."""
    missing = -steps.shape[1] % size
    if missing:  # pad by nothing would copy
        steps = functional.pad(steps, (0, 0) * (steps.ndim - 2) + (0, missing))
    chunks: Tensor = steps.unflatten(1, (-1, size))
    return chunks


def segments_to_chunks(
    segment: Int[Tensor, "batch time"], size: int
) -> Int[Tensor, "batch n size"]:
    """Cut segments into chunks; the last one is filled with the last segment."""
    fill = segment[:, -1:].expand(-1, -segment.shape[1] % size)
    chunks: Tensor = torch.cat([segment, fill], 1).unflatten(1, (-1, size))
    return chunks


def sum_decays(
    log_a: Float[Tensor, "batch n Q H"], same: Bool[Tensor, "batch n Q Q"] | None
) -> Float[Tensor, "batch n H Q"]:
    """Cumulative sum of log_a in each chunk, over the steps j of [i, j] that `same` names.

    With segments each sums its own steps only: the gradient of one cumulative sum over all would
    cancel to rounding errors before a reset, not to 0.
    """
    if same is None:
        return log_a.transpose(2, 3).cumsum(-1)
    return torch.where(same[..., None], log_a[:, :, None], 0.0).sum(3).transpose(2, 3)


def attend(
    x: Float[Tensor, "batch n Q H P"],
    B: Float[Tensor, "batch n Q G N"],
    C: Float[Tensor, "batch n Q G N"],
    log_decay: Float[Tensor, "batch n H Q Q"],
) -> Float[Tensor, "batch n Q H P"]:
    """Outputs that the inputs of one chunk give in another: ((C B^T) (x) exp(log_decay)) x."""
    scores = C.transpose(2, 3) @ B.permute(0, 1, 3, 4, 2)  # [batch, n, G, Q, Q]
    decay = log_decay.exp().unflatten(2, (B.shape[3], -1))
    weights: Tensor = (scores[:, :, :, None] * decay).flatten(2, 3)
    return (weights @ x.transpose(2, 3)).transpose(2, 3)


def summarise(
    x: Float[Tensor, "batch n Q H P"],
    B: Float[Tensor, "batch n Q G N"],
    log_decay: Float[Tensor, "batch n H Q"],
) -> Float[Tensor, "batch n H P N"]:
    """State that each chunk adds: sum_j exp(log_decay_j) x_j B_j^T."""
    scaled = x * log_decay.exp().transpose(2, 3)[..., None]
    grouped = scaled.unflatten(3, (B.shape[3], -1)).flatten(4, 5)  # [batch, n, Q, G, heads * P]
    states: Tensor = grouped.permute(0, 1, 3, 4, 2) @ B.transpose(2, 3)
    return states.reshape(*x.shape[:2], *x.shape[3:], B.shape[4])


def read(
    h: Float[Tensor, "batch n H P N"],
    C: Float[Tensor, "batch n Q G N"],
    log_decay: Float[Tensor, "batch n H Q"],
) -> Float[Tensor, "batch n Q H P"]:
    """Outputs that the state before each chunk gives in it: exp(log_decay_i) h C_i."""
    grouped = h.unflatten(2, (C.shape[3], -1)).flatten(3, 4)  # [batch, n, G, heads * P, N]
    y: Tensor = (C.transpose(2, 3) @ grouped.transpose(3, 4)).transpose(2, 3)
    return y.reshape(*C.shape[:3], *h.shape[2:4]) * log_decay.exp().transpose(2, 3)[..., None]
