"""Decayed counts of pairs plus a product of degrees: three lines of arithmetic, hard to beat.

C_t = decay C_{t-1} + A_t          A_t: multiplicities, both directions
d_t = decay d_{t-1} + row sums of A_t
score of (u, v) at t + 1 = C_t[u, v] + eps d_t[u] d_t[v] / max(d_t)^2
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from torch import Tensor

from graphs.baselines.pair_matrix import PairMatrix
from graphs.data.snapshots import Snapshot


class DecayedPairs:
    """Pairs that met lately and often will meet again; busy nodes meet anyone.

    Args:
        num_nodes: N.
        decay: What a step leaves of older counts, in [0, 1].
        eps: Weight of the degree product; 0 = counts alone.
        directed: Snapshots hold a pair in one direction; it is counted in both.

    Raises:
        ValueError: `decay` or `eps` is out of range.
    """

    def __init__(
        self, num_nodes: int, decay: float = 0.8, eps: float = 1e-3, *, directed: bool = False
    ) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], got {decay}")
        if eps < 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        self.num_nodes, self.decay, self.eps = num_nodes, decay, eps
        self._counts = PairMatrix(num_nodes, directed=directed)
        self._degrees = np.zeros(num_nodes, np.float32)

    def update(
        self,
        snapshot: Snapshot,
        *,
        fit: Int[Tensor, "2 fit"] | None = None,
        hold: Int[Tensor, "2 hold"] | None = None,
    ) -> None:
        """Count the pairs of a step; all of them, as nothing is fitted."""
        source, target = snapshot.edge_index.cpu().numpy()
        weight = snapshot.weight.cpu().numpy()
        degrees = np.bincount(source, weight, self.num_nodes)
        if self._counts.directed:
            degrees += np.bincount(target, weight, self.num_nodes)
        self._degrees = np.float32(self.decay) * self._degrees + degrees.astype(np.float32)
        self._counts.scale(self.decay)
        self._counts.add(snapshot)

    def rows(self, start: int, stop: int) -> Float32[Tensor, "rows nodes"]:
        """Scores of all targets for sources start .. stop - 1."""
        scores = np.multiply.outer(self._degrees[start:stop], self._degrees)
        scores *= self.product_scale()
        self._counts.add_to_rows(scores, start)
        return torch.from_numpy(scores)

    def pairs(self, pairs: Int[Tensor, "2 pairs"]) -> Float32[Tensor, " pairs"]:
        """Scores of given pairs."""
        source, target = pairs.cpu().numpy()
        product = self._degrees[source] * self._degrees[target] * self.product_scale()
        return torch.from_numpy(product + self._counts.at(pairs))

    def counts(self, pairs: Int[Tensor, "2 pairs"]) -> Float32[Tensor, " pairs"]:
        """C_t of given pairs, without the degree product: a structural feature for a decoder."""
        return torch.from_numpy(self._counts.at(pairs))

    @property
    def degrees(self) -> Float[Tensor, " nodes"]:
        """d_t of all nodes."""
        return torch.from_numpy(self._degrees.copy())

    def entries(self) -> tuple[Int[ndarray, " stored"], Int[ndarray, " stored"], ndarray]:
        """Sources, targets and values of C_t."""
        return self._counts.entries()

    def product_scale(self, eps: float | None = None) -> np.float32:
        """eps / max(d_t)^2, by which a product of degrees is multiplied; 0 without an edge so far.

        Args:
            eps: Weight of the product; none = the predictor's own.
        """
        highest = float(self._degrees.max())
        return np.float32((self.eps if eps is None else eps) / highest**2 if highest else 0.0)
