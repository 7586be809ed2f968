"""Classes of edges from the degrees of both nodes in the same snapshot."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from graphs.baselines.logistic import LogisticModel, fit_logistic
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.labels import known_labels

_L2 = 1e-6
"""Enough to share a weight between equal columns: in an undirected graph in- and out-degree."""


class DegreeLogistic:
    """Logistic regression on log(1 + degree): out and in, of source and target.

    Args:
        model: Fitted by `fit`.
    """

    def __init__(self, model: LogisticModel) -> None:
        self.model = model

    @classmethod
    def fit(
        cls, sequence: SnapshotSequence, train: range, *, num_classes: int = 2
    ) -> "DegreeLogistic":
        """Fit to the labelled edges of the training steps.

        Raises:
            ValueError: There is none.
        """
        features, labels = [], []
        for step in train:
            known, of_step = known_labels(sequence[step], "edge_label")
            features.append(degree_features(sequence[step])[known.cpu().numpy()])
            labels.append(of_step.cpu().numpy())
        return cls(
            fit_logistic(
                np.concatenate(features), np.concatenate(labels), num_classes=num_classes, l2=_L2
            )
        )

    def update(self, snapshot: Snapshot) -> None:
        """Nothing is remembered."""

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "edges classes"]:
        """Logits of every pair of the snapshot."""
        return torch.from_numpy(self.model.logits(degree_features(snapshot)))


def degree_features(snapshot: Snapshot) -> Float[ndarray, "edges 4"]:
    """log(1 + distinct targets, distinct sources) of source and target of every pair."""
    source, target = snapshot.edge_index.cpu().numpy()
    outwards = np.bincount(source, minlength=snapshot.num_nodes)
    inwards = np.bincount(target, minlength=snapshot.num_nodes)
    columns = (outwards[source], inwards[source], outwards[target], inwards[target])
    return np.asarray(np.log1p(np.stack(columns, axis=1), dtype=np.float64))
