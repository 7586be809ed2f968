"""Scorers with given numbers and small random sequences, shared by tests."""

import numpy as np
import torch
from networks import Edges
from torch import Tensor

from graphs.data.snapshots import Snapshot, SnapshotSequence, merge_pairs


class MatrixScorer:
    """Scores are the entries of a matrix; `calls` holds the blocks that were asked for."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = torch.from_numpy(np.asarray(scores, np.float32))
        self.num_nodes = len(scores)
        self.calls: list[tuple[int, int]] = []

    def rows(self, start: int, stop: int) -> Tensor:
        self.calls.append((start, stop))
        return self.scores[start:stop].clone()

    def pairs(self, pairs: Tensor) -> Tensor:
        return self.scores[pairs[0], pairs[1]]


class RandomScorer(MatrixScorer):
    """New random scores after every step; they depend on all snapshots so far."""

    def __init__(self, num_nodes: int, seed: int = 0, levels: int = 1000) -> None:
        super().__init__(np.zeros((num_nodes, num_nodes)))
        self.seed, self.levels, self.seen = seed, levels, 0
        self.parts: list[tuple[Tensor | None, Tensor | None]] = []

    def update(
        self, snapshot: Snapshot, *, fit: Tensor | None = None, hold: Tensor | None = None
    ) -> None:
        self.seen = (self.seen * 31 + int(snapshot.pair_keys.sum())) % 2**31
        rng = np.random.default_rng([self.seed, self.seen])
        scores = rng.integers(0, self.levels, (self.num_nodes, self.num_nodes))
        self.scores = torch.from_numpy(scores.astype(np.float32))
        self.parts.append((fit, hold))


def weighted_snapshot(num_nodes: int, edges: Edges, *, directed: bool) -> Snapshot:
    source, target = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    index, weight, _ = merge_pairs(
        source, target, torch.ones(len(edges)), num_nodes=num_nodes, directed=directed
    )
    return Snapshot(num_nodes=num_nodes, edge_index=index, weight=weight)


def toy_sequence(
    num_nodes: int = 12,
    per_step: tuple[int, ...] = (9, 7, 0, 8, 11, 6),
    *,
    directed: bool = False,
    seed: int = 0,
) -> SnapshotSequence:
    """Random edges, some repeated, some self-loops; `per_step` edges in each step."""
    rng = np.random.default_rng(seed)
    snapshots = tuple(
        weighted_snapshot(
            num_nodes,
            [(int(u), int(v)) for u, v in rng.integers(0, num_nodes, (num, 2))],
            directed=directed,
        )
        for num in per_step
    )
    return SnapshotSequence(
        name="toy", snapshots=snapshots, node_ids=np.arange(num_nodes), directed=directed
    )


def random_positives(num_nodes: int, num: int, seed: int = 0) -> Tensor:
    """Distinct pairs in order."""
    key = np.random.default_rng(seed).permutation(num_nodes**2)[:num]
    key.sort()
    return torch.from_numpy(np.stack([key // num_nodes, key % num_nodes]))


def as_mask(positives: Tensor, num_nodes: int) -> np.ndarray:
    mask = np.zeros((num_nodes, num_nodes), bool)
    mask[positives[0].numpy(), positives[1].numpy()] = True
    return mask
