"""Pairs without an edge, drawn for training."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from graphs.keys import number_nodes, unique_keys

SURPLUS = 1.1
"""Drawn over needed; what self-pairs, positives and repeats take away is drawn again."""
ROUNDS = 8
"""Draws before the possible pairs are listed one by one."""
CELLS = 64
"""Possible pairs for each one to draw, up to which they are marked in a matrix."""


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
    cells = min(len(sources), num_nodes) * min(len(targets), num_nodes)
    kind = _Marked if cells <= CELLS * count else _Listed
    found = kind(positives, sources, targets, num_nodes)
    for _ in range(ROUNDS):
        drawn = int(SURPLUS * (count - found.count)) + 16
        found.add(
            torch.randint(len(sources), (drawn,), generator=generator),
            torch.randint(len(targets), (drawn,), generator=generator),
        )
        if found.count >= count:
            break
    else:
        found.add_all()
    return found.keys(_choose(found.count, count, generator))


class _Listed:
    """Different pairs of two pools, kept as ascending keys: no positives, no node with itself."""

    def __init__(self, positives: Tensor, sources: Tensor, targets: Tensor, num_nodes: int) -> None:
        self._positives, self._num_nodes = positives, num_nodes
        self._sources, self._targets = sources, targets
        self._keys = positives.new_empty(0)

    @property
    def count(self) -> int:
        return len(self._keys)

    def add(self, i: Int[Tensor, " pairs"], j: Int[Tensor, " pairs"]) -> None:
        """Of source i and target j of the pools."""
        self._add(self._sources[i], self._targets[j])

    def add_all(self) -> None:
        """Every pair."""
        every = unique_keys(self._sources), unique_keys(self._targets)
        self._add(*(part.flatten() for part in torch.meshgrid(*every, indexing="ij")))

    def keys(self, chosen: NDArray[np.bool_] | slice) -> Int[Tensor, " keys"]:
        """source * num_nodes + target of those chosen."""
        return self._keys[chosen]

    def _add(self, u: Int[Tensor, " pairs"], v: Int[Tensor, " pairs"]) -> None:
        keys = (u * self._num_nodes + v)[u != v]
        fresh = without(unique_keys(keys), self._positives)
        self._keys = unique_keys(torch.cat([self._keys, fresh])) if self.count else fresh


class _Marked:
    """The same, kept as marks in the matrix of both pools: no sort where it is well filled."""

    def __init__(self, positives: Tensor, sources: Tensor, targets: Tensor, num_nodes: int) -> None:
        self._num_nodes, self.count = num_nodes, 0
        self._rows, self._of_source = number_nodes(sources, num_nodes)
        self._columns, self._of_target = number_nodes(targets, num_nodes)
        row, column = (positives.new_full((num_nodes,), -1) for _ in range(2))
        row[self._rows] = torch.arange(len(self._rows))
        column[self._columns] = torch.arange(len(self._columns))
        nodes = torch.arange(num_nodes)
        u, v = torch.cat([positives // num_nodes, nodes]), torch.cat([positives % num_nodes, nodes])
        u, v = row[u], column[v]
        self._barred = self._cells(u, v)[((u >= 0) & (v >= 0)).numpy()]
        self._mark = np.zeros(len(self._rows) * len(self._columns), dtype=bool)

    def add(self, i: Int[Tensor, " pairs"], j: Int[Tensor, " pairs"]) -> None:
        """Of source i and target j of the pools."""
        self._mark_cells(self._cells(self._of_source[i], self._of_target[j]))

    def add_all(self) -> None:
        """Every pair."""
        self._mark_cells(slice(None))

    def keys(self, chosen: NDArray[np.bool_] | slice) -> Int[Tensor, " keys"]:
        """source * num_nodes + target of those chosen."""
        cell = torch.from_numpy(np.flatnonzero(self._mark)[chosen])
        row, column = cell // len(self._columns), cell % len(self._columns)
        return self._rows[row] * self._num_nodes + self._columns[column]

    def _cells(self, row: Tensor, column: Tensor) -> NDArray[np.int64]:
        return (row * len(self._columns) + column).numpy()

    def _mark_cells(self, cells: NDArray[np.int64] | slice) -> None:
        self._mark[cells] = True
        self._mark[self._barred] = False
        self.count = int(np.count_nonzero(self._mark))


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
    strata: Sequence[tuple[Int[Tensor, " _"], int]],
) -> Float[Tensor, " parts"]:
    """Weights that let a sample stand for all pairs: of a positive, of the past, of each stratum.

    Args:
        strata: Drawn pairs, and how many pairs they stand for, shared evenly; the pairs of the
            first two parts are all there and weigh 1.
    """
    return torch.tensor([1.0, 1.0, *(total / max(len(drawn), 1) for drawn, total in strata)])


def _choose(total: int, count: int, generator: torch.Generator | None) -> NDArray[np.bool_] | slice:
    """`count` of so many, every choice as likely.

    Of the smaller part, the chosen or the left out, draws are marked until it is whole: neither a
    permutation nor a sort.
    """
    if total <= count:
        return slice(None)
    drop = 2 * count > total
    marks, whole, done = np.zeros(total, dtype=bool), total - count if drop else count, 0
    while done < whole:
        marks[torch.randint(total, (whole - done,), generator=generator).numpy()] = True
        done = int(np.count_nonzero(marks))
    return ~marks if drop else marks
