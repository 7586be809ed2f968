"""Scores of given pairs in parts of bounded size."""

import torch
from jaxtyping import Float32, Int
from torch import Tensor

from graphs.scorer import PairScorer

_CHUNK = 1 << 20
"""Pairs scored at a time."""


@torch.no_grad()
def score_pairs(scorer: PairScorer, pairs: Int[Tensor, "2 pairs"]) -> Float32[Tensor, " pairs"]:
    """Scores on the CPU, without gradients.

    Raises:
        ValueError: The scorer gives another number of scores than pairs.
    """
    parts = [scorer.pairs(part).cpu() for part in pairs.split(_CHUNK, dim=1)]
    scores = torch.cat(parts).float()
    if scores.shape != pairs.shape[1:]:
        raise ValueError(f"{pairs.shape[1]} pairs must have as many scores, got {scores.shape}")
    return scores
