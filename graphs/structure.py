"""Running counts of past edges, as features of nodes and of pairs that met before.

Pairs that never met have no numbers of their own: their features are exact zeros, so that scoring
all pairs costs no more than the pairs that met.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.data.snapshots import Snapshot
from graphs.model_config import StructureConfig

SMALLEST = 1e-3
"""Decayed counts below this are as good as none: log(1 + count / SMALLEST) is a feature."""
LOG_RANGE = 7.0
"""About log(1 / SMALLEST), which brings that feature to 1 for a count of 1."""

REPUTATION_DECAYS = (0.8, 0.95, 1.0)
"""Factors by which the labels around a node shrink from step to step."""


@dataclass(frozen=True)
class StructureStep:
    """What is known after one step; nothing later is in it."""

    nodes: Float[Tensor, "nodes node_columns"]
    """Of every node: logarithms of its decayed numbers of edges, 1 / (1 + age of the last one)."""
    keys: Int[Tensor, " met"]
    """source * num_nodes + target of the pairs that met before, ascending."""
    pairs: Float[Tensor, "met pair_columns"]
    """Of these pairs: logarithms of their decayed counts, once of large and once of small ones,
    1 / (1 + age of the last meeting)."""

    def find(self, keys: Int[Tensor, " asked"]) -> tuple[Int[Tensor, " some"], Tensor]:
        """Which of the asked pairs met before, in their order, and their features."""
        if not len(self.keys):
            return keys.new_empty(0), self.pairs
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        found = (self.keys[place] == keys).nonzero()[:, 0]
        return found, self.pairs[place[found]]

    def of_rows(self, start: int, stop: int, num_nodes: int) -> slice:
        """Where the pairs with sources start .. stop - 1 stand in `keys`."""
        borders = self.keys.new_tensor([start * num_nodes, stop * num_nodes])
        first, last = torch.searchsorted(self.keys, borders).tolist()
        return slice(first, last)


class PairCounts:
    """Counts C = decay C + A of pairs and d = decay d + (row sums of A) of nodes, step by step.

    Args:
        num_nodes: N.
        decays: One count for each.
        directed: Snapshots hold a pair in one direction; it counts for both of its nodes.
    """

    def __init__(self, num_nodes: int, decays: Sequence[float], *, directed: bool = False) -> None:
        self.num_nodes, self.directed = num_nodes, directed
        self.decays = torch.tensor(list(decays), dtype=torch.float64)
        self.step = 0
        self._keys = torch.empty(0, dtype=torch.int64)
        self._counts = torch.empty(0, len(decays), dtype=torch.float64)
        self._last = torch.empty(0, dtype=torch.int64)
        self._node_counts = torch.zeros(num_nodes, len(decays), dtype=torch.float64)
        self._node_last = torch.full((num_nodes,), -1)

    def update(self, snapshot: Snapshot) -> StructureStep:
        """Take in the next step."""
        self.step += 1
        keys, weight = snapshot.pair_keys, snapshot.weight.double()
        union = torch.unique(torch.cat([self._keys, keys]))
        old, new = torch.searchsorted(union, self._keys), torch.searchsorted(union, keys)
        counts = torch.zeros(len(union), len(self.decays), dtype=torch.float64)
        counts[old] = self._counts * self.decays
        counts[new] += weight[:, None]
        last = torch.zeros(len(union), dtype=torch.int64)
        last[old] = self._last
        last[new] = self.step
        self._keys, self._counts, self._last = union, counts, last
        self._node_counts = self._node_counts * self.decays
        wide = weight[:, None].expand(-1, len(self.decays))
        for nodes in snapshot.edge_index[: 2 if self.directed else 1]:
            self._node_counts.index_add_(0, nodes, wide)
        self._node_last[snapshot.edge_index.flatten()] = self.step
        return self._features()

    def _features(self) -> StructureStep:
        met = self._node_last >= 0
        recent = torch.where(met, 1 / (1 + (self.step - self._node_last).double()), 0.0)
        nodes = torch.cat([torch.log1p(self._node_counts), recent[:, None]], 1)
        pair_age = (self.step - self._last).double()
        pairs = torch.cat(
            [
                torch.log1p(self._counts),
                torch.log1p(self._counts / SMALLEST) / LOG_RANGE,
                (1 / (1 + pair_age))[:, None],
            ],
            1,
        )
        return StructureStep(nodes.float(), self._keys, pairs.float())


class Reputation:
    """Shares of positive labels around each node, of past steps: r = (P + a q) / (n + a).

    P and n are sums over the labelled edges of a node that shrink by `decay` a step, q the share
    of positive labels so far. Features are logit r - logit q and log(1 + n).

    Args:
        num_nodes: N.
        decays: One sum for each.
        prior: a.
        directed: Snapshots hold a pair in one direction; its label counts for both of its nodes.
    """

    def __init__(
        self,
        num_nodes: int,
        decays: Sequence[float],
        *,
        prior: float = 1.0,
        directed: bool = False,
    ) -> None:
        self.directed = directed
        self.decays = torch.tensor(list(decays), dtype=torch.float64)
        self.prior = prior
        self._positive = torch.zeros(num_nodes, len(decays), dtype=torch.float64)
        self._number = torch.zeros(num_nodes, len(decays), dtype=torch.float64)
        self._seen = torch.zeros(2, dtype=torch.float64)

    def features(self) -> Float[Tensor, "nodes columns"]:
        """Of the labels taken in so far."""
        positive, number = self._seen.tolist()
        share = (positive + 1) / (number + 2)
        rate = (self._positive + self.prior * share) / (self._number + self.prior)
        surplus = torch.logit(rate, 1e-6) - math.log(share / (1 - share))
        return torch.cat([surplus, torch.log1p(self._number)], 1).float()

    def update(self, snapshot: Snapshot) -> None:
        """Take in the labels of a step (class 1 = positive, -1 = unknown); none = all unknown."""
        self._positive *= self.decays
        self._number *= self.decays
        if snapshot.edge_label is None:
            return
        known = snapshot.edge_label >= 0
        positive = (snapshot.edge_label[known] == 1).double()
        self._seen += torch.stack([positive.sum(), positive.new_tensor(len(positive))])
        wide = positive[:, None].expand(-1, len(self.decays))
        for nodes in snapshot.edge_index[: 2 if self.directed else 1, known]:
            self._positive.index_add_(0, nodes, wide)
            self._number.index_add_(0, nodes, torch.ones_like(wide))


class ValueHistory:
    """Last values of every node, newest first; an unknown one repeats the one before, else is 0."""

    def __init__(self, num_nodes: int, lags: int) -> None:
        self.values = torch.zeros(num_nodes, lags)

    def update(self, value: Float[Tensor, " nodes"] | None) -> None:
        """Take in the values of a step."""
        newest = self.values[:, 0]
        if value is not None:
            newest = torch.where(value.isfinite(), value.to(newest), newest)
        self.values = torch.cat([newest[:, None], self.values[:, :-1]], 1)


class Structure:
    """What the decoder is given beside embeddings, step by step.

    Edges of a step are known at that step (`advance`), its labels and values only afterwards
    (`reveal`).

    Args:
        config: Which counts.
        num_nodes: N.
        directed: Whether snapshots hold a pair in one direction.
    """

    def __init__(self, config: StructureConfig, num_nodes: int, *, directed: bool = False) -> None:
        self.counts = self.reputation = None
        if config.decays:
            self.counts = PairCounts(num_nodes, config.decays, directed=directed)
        if config.reputation:
            self.reputation = Reputation(num_nodes, REPUTATION_DECAYS, directed=directed)
        self.history = ValueHistory(num_nodes, config.lags) if config.lags else None
        self.num_nodes = num_nodes

    def advance(self, snapshot: Snapshot) -> StructureStep:
        """Features at this step, whose labels and values are not looked at."""
        step = StructureStep(
            torch.empty(self.num_nodes, 0), torch.empty(0, dtype=torch.int64), torch.empty(0, 0)
        )
        if self.counts is not None:
            step = self.counts.update(snapshot)
        parts = [step.nodes]
        if self.reputation is not None:
            parts.append(self.reputation.features())
        if self.history is not None:
            parts.append(self.history.values)
        return replace(step, nodes=torch.cat(parts, 1))

    def reveal(self, snapshot: Snapshot) -> None:
        """Take in the labels and values of the step that `advance` had."""
        if self.reputation is not None:
            self.reputation.update(snapshot)
        if self.history is not None:
            self.history.update(snapshot.value)


def structure_widths(config: StructureConfig) -> tuple[int, int]:
    """Columns of nodes and of pairs."""
    counted = len(config.decays) + 1 if config.decays else 0
    of_labels = 2 * len(REPUTATION_DECAYS) if config.reputation else 0
    return counted + of_labels + config.lags, counted + len(config.decays)
