"""Sorting and numbering of node ids and pair keys, which are whole numbers.

NumPy sorts whole numbers four to five times as fast as torch on a CPU with AVX-512.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def sorted_keys(keys: Int[Tensor, " keys"]) -> Int[Tensor, " keys"]:
    """Ascending."""
    if keys.device.type != "cpu":
        return keys.sort().values
    return torch.from_numpy(np.sort(keys.numpy()))


def unique_keys(keys: Int[Tensor, " keys"]) -> Int[Tensor, " different"]:
    """Ascending, each once."""
    ascending = sorted_keys(keys)
    if not len(ascending):
        return ascending
    first = torch.ones(len(ascending), dtype=torch.bool, device=keys.device)
    torch.ne(ascending[1:], ascending[:-1], out=first[1:])
    return ascending[first]


def number_nodes(
    nodes: Int[Tensor, " nodes"], num_nodes: int
) -> tuple[Int[Tensor, " different"], Int[Tensor, " nodes"]]:
    """Different ids, ascending, and the place of each of `nodes` among them, without a sort."""
    present = torch.zeros(num_nodes, dtype=torch.bool, device=nodes.device)
    present[nodes] = True
    return present.nonzero()[:, 0], (present.cumsum(0) - 1)[nodes]


def merge_keys(
    parts: Sequence[Int[Tensor, " _"]],
) -> tuple[Int[Tensor, " keys"], Int[Tensor, " keys"]]:
    """All keys, ascending, and of which part each is; of equal keys the earlier part's first.

    Args:
        parts: Keys below 2^63 / len(parts).
    """
    coded = sorted_keys(torch.cat([keys * len(parts) + part for part, keys in enumerate(parts)]))
    return coded // len(parts), coded % len(parts)
