"""Sparse counts of pairs, for baselines that remember which pairs have met."""

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy import ndarray
from scipy.sparse import csr_matrix
from torch import Tensor

from graphs.data.snapshots import Snapshot


class PairMatrix:
    """N x N float32 matrix of which few entries are not zero.

    Args:
        num_nodes: N.
        directed: Snapshots hold a pair once; each is then counted in both directions (A + A^T). An
            undirected snapshot already holds both.
    """

    def __init__(self, num_nodes: int, *, directed: bool = False) -> None:
        self.num_nodes, self.directed = num_nodes, directed
        none = (np.empty(0, np.float32), np.empty(0, np.int32), np.zeros(num_nodes + 1, np.int32))
        self._matrix = csr_matrix(none, shape=(num_nodes, num_nodes))

    def scale(self, factor: float) -> None:
        """Multiply all entries."""
        self._matrix.data *= np.float32(factor)

    def add(self, snapshot: Snapshot, *, binary: bool = False) -> None:
        """Add the weights of a snapshot, or 1 for each of its pairs."""
        self._matrix = self._matrix + self._adjacency(snapshot, binary)
        self._matrix.sort_indices()

    def keep_seen(self) -> None:
        """Set every entry that is stored to 1."""
        self._matrix.data.fill(1)

    def add_to_rows(self, out: Float32[ndarray, "rows nodes"], start: int) -> None:
        """Add the rows from `start` on to a dense block, in place."""
        indptr = self._matrix.indptr
        inside = slice(indptr[start], indptr[start + len(out)])
        row = np.repeat(np.arange(len(out)), np.diff(indptr[start : start + len(out) + 1]))
        out[row, self._matrix.indices[inside]] += self._matrix.data[inside]

    def at(self, pairs: Int[Tensor, "2 pairs"]) -> Float32[ndarray, " pairs"]:
        """Entries of given pairs."""
        # All rows are bisected at once; scipy's own look-up of pairs scans the rows.
        source, target = pairs.cpu().numpy()
        indptr, indices = self._matrix.indptr, self._matrix.indices
        low, end = indptr[source].astype(np.int64), indptr[source + 1].astype(np.int64)
        high = end.copy()
        last = max(len(indices) - 1, 0)
        while (searching := low < high).any():
            middle = (low + high) // 2
            before = searching & (indices[np.minimum(middle, last)] < target)
            low = np.where(before, middle + 1, low)
            high = np.where(searching & ~before, middle, high)
        values = np.zeros(len(source), np.float32)
        found = np.flatnonzero(low < end)
        found = found[indices[low[found]] == target[found]]
        values[found] = self._matrix.data[low[found]]
        return values

    def entries(self) -> tuple[Int[ndarray, " stored"], Int[ndarray, " stored"], ndarray]:
        """Sources, targets and values of what is stored, in order of source and target."""
        row = np.repeat(np.arange(self.num_nodes), np.diff(self._matrix.indptr))
        return row, self._matrix.indices, self._matrix.data

    def _adjacency(self, snapshot: Snapshot, binary: bool) -> csr_matrix:
        if snapshot.num_nodes != self.num_nodes:
            raise ValueError(
                f"snapshot has {snapshot.num_nodes} nodes, the baseline {self.num_nodes}"
            )
        source, target = snapshot.edge_index.cpu().numpy()
        weight = torch.ones_like(snapshot.weight) if binary else snapshot.weight
        indptr = np.searchsorted(source, np.arange(self.num_nodes + 1))
        shape = (self.num_nodes, self.num_nodes)
        one = csr_matrix((weight.cpu().numpy().astype(np.float32), target, indptr), shape=shape)
        return one + one.T.tocsr() if self.directed else one
