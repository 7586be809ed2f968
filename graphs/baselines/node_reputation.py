"""Reputation of nodes: how often the labelled edges of each were of class 1 before.

    r_x = (P_x + a q) / (n_x + a)                 P_x: class-1 edges of x, n_x: labelled edges of x
    score of (u, v) = logit r_u + logit r_v - logit q          q: share of class 1 so far

P and n are decayed sums over the steps before, q is not decayed.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.special import logit
from torch import Tensor

from graphs.data.snapshots import Snapshot
from graphs.evaluation.labels import known_labels

_LOWEST_SHARE = 1e-6
"""Bound of q, so that its logit is finite while one class alone has been seen."""


class NodeReputation:
    """Classes 0 and 1 of edges from the past labels of both nodes.

    Args:
        num_nodes: N.
        decay: What a step leaves of older sums.
        a: Labels that the overall share is worth against a node's own.
        directed: Snapshots hold a pair once; it then counts for its source and its target.

    Raises:
        ValueError: `decay` or `a` is out of range.
    """

    def __init__(
        self, num_nodes: int, decay: float = 0.95, a: float = 1.0, *, directed: bool = False
    ) -> None:
        if not 0 <= decay <= 1 or a <= 0:
            raise ValueError(f"decay must lie in [0, 1] and a above 0, got {decay} and {a}")
        self.num_nodes, self.decay, self.a, self.directed = num_nodes, decay, a, directed
        self._ones, self._labelled = np.zeros((2, num_nodes))
        self._seen = np.zeros(2)

    def update(self, snapshot: Snapshot) -> None:
        """Count the labels of a step.

        Raises:
            ValueError: There are more than two classes.
        """
        known, labels = known_labels(snapshot, "edge_label")
        if len(labels) and int(labels.max()) > 1:
            raise ValueError(f"reputation knows classes 0 and 1, got {int(labels.max())}")
        one = labels.cpu().numpy().astype(np.float64)
        source, target = snapshot.edge_index[:, known].cpu().numpy()
        self._ones *= self.decay
        self._labelled *= self.decay
        for node in (source, target) if self.directed else (source,):
            self._ones += np.bincount(node, one, self.num_nodes)
            self._labelled += np.bincount(node, minlength=self.num_nodes)
        self._seen += [len(one) - one.sum(), one.sum()]

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "edges 2"]:
        """Log-odds of class 1 as its logit, beside 0; without a label so far all are 0."""
        source, target = snapshot.edge_index.cpu().numpy()
        score: ndarray = np.zeros(len(source))
        if self._seen.any():
            share = np.clip(self._seen[1] / self._seen.sum(), _LOWEST_SHARE, 1 - _LOWEST_SHARE)
            reputation = logit((self._ones + self.a * share) / (self._labelled + self.a))
            score = reputation[source] + reputation[target] - logit(share)
        return torch.from_numpy(np.stack([np.zeros_like(score), score], axis=1))
