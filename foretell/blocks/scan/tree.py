"""Scan of an associative operator by a tree, in plain tensor operations."""

from collections.abc import Callable

import torch
from torch import Tensor

Elements = tuple[Tensor, ...]


def associative_scan(
    combine: Callable[[Elements, Elements], Elements], steps: Elements
) -> Elements:
    """All prefixes of an associative operator along axis 1, in about log2(time) levels.

    Neighbours are combined in pairs, the pairs scanned by recursion; that gives the prefixes that
    end at odd steps, and one more combination those that end at even steps (Blelloch 1990).

    Args:
        combine: (left, right) -> combined, element-wise over the steps.
        steps: Tensors [batch, time, ...] that together are one element a step.

    Returns:
        The prefixes, shaped like `steps`.
    """
    time = steps[0].shape[1]
    if time < 2:
        return steps
    even, odd = tuple(x[:, ::2] for x in steps), tuple(x[:, 1::2] for x in steps)
    whole = time // 2  # pairs
    pairs = combine(tuple(x[:, :whole] for x in even), odd)
    at_odd = associative_scan(combine, pairs)
    rest = combine(tuple(x[:, : (time - 1) // 2] for x in at_odd), tuple(x[:, 1:] for x in even))
    at_even = tuple(torch.cat([x[:, :1], y], 1) for x, y in zip(even, rest, strict=True))
    return tuple(_interleave(x, y) for x, y in zip(at_even, at_odd, strict=True))


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    pairs = torch.stack([even[:, : odd.shape[1]], odd], 2).flatten(1, 2)
    return torch.cat([pairs, even[:, odd.shape[1] :]], 1)
