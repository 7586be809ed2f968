"""Pairs without an edge, drawn for training."""

import torch
from jaxtyping import Float, Int
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


def balanced_weights(
    num_positives: int, num_past: int, num_drawn: int, *, num_nodes: int
) -> Float[Tensor, " pairs"]:
    """Weights that let a sample stand for all N^2 pairs, in the order positive, past, drawn.

    Positives and pairs of the past are all there and weigh 1; the drawn ones share what is left.
    """
    weights = torch.ones(num_positives + num_past + num_drawn)
    if num_drawn:
        weights[num_positives + num_past :] = (num_nodes**2 - num_positives - num_past) / num_drawn
    return weights


def _choose(
    keys: Int[Tensor, " keys"], count: int, generator: torch.Generator | None
) -> Int[Tensor, " chosen"]:
    if len(keys) <= count:
        return keys
    chosen = torch.randperm(len(keys), generator=generator)[:count]
    return keys[chosen.sort().values]
