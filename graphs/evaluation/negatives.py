"""Pairs that do not exist, drawn at random: seeded, vectorised, no rejection of positives.

The free numbers 0, 1, ... of what is not positive are drawn and shifted past the positives.
"""

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor


def uniform_negatives(
    sources: Int[Tensor, " drawn"],
    positives: Int[Tensor, "2 positives"],
    *,
    num_nodes: int,
    many: int,
    rng: np.random.Generator,
) -> Int[Tensor, "drawn many"]:
    """Targets for each source, uniform over those that are no positive of that source.

    With replacement; the source itself may be drawn.

    Args:
        sources: One row of targets is drawn for each entry.
        positives: Distinct pairs, sorted by source and target.
        num_nodes: Targets lie in [0, num_nodes).
        many: Targets for each source.
        rng: Source of randomness.

    Raises:
        ValueError: A source has all nodes as positives, so that no negative is left.
    """
    source, target = positives.cpu().numpy()
    drawn = sources.cpu().numpy()
    first = np.searchsorted(source, drawn, side="left")
    taken = np.searchsorted(source, drawn, side="right") - first
    if (taken >= num_nodes).any():
        full = int(drawn[np.argmax(taken >= num_nodes)])
        raise ValueError(
            f"every target is a positive of source {full}: no negative can be drawn for it; rank "
            "against all targets alone (many=0, eval.one_vs_many 0)"
        )
    free = rng.integers(0, (num_nodes - taken)[:, None], (len(drawn), many))
    # Positive number j of a source, at target v, has v - j free targets before it.
    place = np.arange(len(source)) - np.searchsorted(source, source, side="left")
    before = source * (num_nodes + 1) + target - place
    key = drawn[:, None] * (num_nodes + 1) + free
    passed = np.searchsorted(before, key, side="right") - first[:, None]
    return torch.from_numpy(free + passed)


def distinct_negatives(
    positives: Int[Tensor, "2 positives"],
    *,
    num_nodes: int,
    num: int,
    rng: np.random.Generator,
) -> Int[Tensor, "2 num"]:
    """`num` distinct pairs that are not positive, all sets equally likely; sorted.

    Args:
        positives: Distinct pairs, sorted by source and target.
        num_nodes: Nodes lie in [0, num_nodes).
        num: Pairs to draw.
        rng: Source of randomness.

    Raises:
        ValueError: There are fewer than `num` such pairs.
    """
    source, target = positives.cpu().numpy()
    key = source * num_nodes + target
    available = num_nodes**2 - len(key)
    if num > available:
        raise ValueError(f"{num} negatives asked for, but only {available} pairs are no positive")
    free = _distinct_integers(available, num, rng)
    pair = free + np.searchsorted(key - np.arange(len(key)), free, side="right")
    return torch.from_numpy(np.stack([pair // num_nodes, pair % num_nodes]))


def _distinct_integers(below: int, num: int, rng: np.random.Generator) -> Int[ndarray, " num"]:
    """Sorted distinct integers in [0, below), in memory of the order of `num`."""
    if 3 * num > below:
        return np.sort(rng.permutation(below)[:num])
    drawn = np.empty(0, np.int64)
    while len(drawn) < num:
        more = int(1.05 * (num - len(drawn))) + 8
        more += int(more * len(drawn) / below)
        drawn = np.unique(np.concatenate([drawn, rng.integers(0, below, more)]))
    surplus = rng.permutation(len(drawn))[: len(drawn) - num]
    return np.delete(drawn, surplus)
