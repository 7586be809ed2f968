"""Pairs without an edge, drawn for training."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SURPLUS = 1.1
"""Drawn over needed; what self-pairs, positives and repeats take away is drawn again."""
ROUNDS = 8
"""Draws before the possible pairs are listed one by one."""


def sample_negatives(
    positives: Int[Tensor, " positives"],
    sources: Int[Tensor, " sources"],
    targets: Int[Tensor, " targets"],
    count: int,
    *,
    num_nodes: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " negatives"]:
    """Different pairs, neither positive nor a node with itself, in ascending order.

    Args:
        positives: source * num_nodes + target of the pairs to leave out, ascending.
        sources: Pool of sources, a node as often as it is to weigh.
        targets: Pool of targets, likewise.
        count: How many; fewer come back where fewer are possible.
        num_nodes: N.
        generator: Of the draws; none = torch's global one.

    Returns:
        source * num_nodes + target.
    """
    if count <= 0 or not len(sources) or not len(targets):
        return positives.new_empty(0)
    kept = positives.new_empty(0)
    for _ in range(ROUNDS):
        needed = count - len(kept)
        drawn = int(SURPLUS * needed) + 16
        u = sources[torch.randint(len(sources), (drawn,), generator=generator)]
        v = targets[torch.randint(len(targets), (drawn,), generator=generator)]
        fresh = (u * num_nodes + v)[u != v]
        fresh = without(torch.unique(fresh), positives)
        kept = torch.unique(torch.cat([kept, fresh])) if len(kept) else fresh
        if len(kept) >= count:
            return _choose(kept, count, generator)
    listed = torch.unique(sources)[:, None] * num_nodes + torch.unique(targets)
    listed = listed.flatten()
    possible = without(listed[listed // num_nodes != listed % num_nodes], positives)
    return _choose(possible, count, generator)


def smart_count(positives: int, mult: float, *, of: int) -> int:
    """Negatives for some of a step's E positives: mult each, at most E (E - 1) - E (released code).

    Args:
        positives: Those that the loss has.
        mult: Negatives for each.
        of: E, all of the step.
    """
    return max(0, min(int(mult * positives), of * (of - 1) - of))


def without(keys: Int[Tensor, " keys"], removed: Int[Tensor, " removed"]) -> Int[Tensor, " left"]:
    """Those of `keys` that are not in `removed`, which ascends."""
    if not len(removed) or not len(keys):
        return keys
    place = torch.searchsorted(removed, keys).clamp_(max=len(removed) - 1)
    return keys[removed[place] != keys]


def sample_strata(
    taken: Int[Tensor, " taken"],
    active: Int[Tensor, " active"],
    count: int,
    *,
    num_nodes: int,
    generator: torch.Generator | None = None,
) -> list[tuple[Int[Tensor, " _"], int]]:
    """Half of the pairs between active nodes, about half of them elsewhere.

    Where most edges are between few active nodes, weights of pairs that stand for all others are
    then far more even than those of a uniform draw.

    Args:
        taken: Keys of pairs to leave out, ascending.
        active: The active nodes, each once.
        count: How many in all, at most.
        num_nodes: N.
        generator: Of the draws.

    Returns:
        Keys of each stratum, and how many pairs there are in it.
    """
    is_active = torch.zeros(num_nodes, dtype=torch.bool)
    is_active[active] = True

    def inside(keys: Int[Tensor, " keys"]) -> Bool[Tensor, " keys"]:
        return is_active[keys // num_nodes] & is_active[keys % num_nodes]

    every = torch.arange(num_nodes)
    half = count // 2
    of_active = sample_negatives(
        taken, active, active, half, num_nodes=num_nodes, generator=generator
    )
    anywhere = sample_negatives(
        taken, every, every, count - half, num_nodes=num_nodes, generator=generator
    )
    known = int(inside(taken).sum())
    between = len(active) * (len(active) - 1) - known
    elsewhere = num_nodes * (num_nodes - 1) - len(taken) - between
    return [(of_active, max(between, 0)), (anywhere[~inside(anywhere)], max(elsewhere, 0))]


def balanced_weights(
    known: int, strata: Sequence[tuple[Int[Tensor, " _"], int]]
) -> Float[Tensor, " pairs"]:
    """Weights that let a sample stand for all pairs, in the order known pairs, strata.

    Args:
        known: Positives and pairs of the past, which are all there and weigh 1.
        strata: Drawn pairs, and how many pairs they stand for, shared evenly.
    """
    parts = [torch.ones(known)]
    parts += [torch.full((len(drawn),), total / max(len(drawn), 1)) for drawn, total in strata]
    return torch.cat(parts)


def _choose(
    keys: Int[Tensor, " keys"], count: int, generator: torch.Generator | None
) -> Int[Tensor, " chosen"]:
    if len(keys) <= count:
        return keys
    chosen = torch.randperm(len(keys), generator=generator)[:count]
    return keys[chosen.sort().values]
