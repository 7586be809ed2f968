"""Classes of nodes from their own features, without any edge."""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from graphs.baselines.logistic import LogisticModel, fit_logistic, mean_cross_entropy
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.labels import known_labels

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


class FeatureLogistic:
    """Logistic regression on the features of the nodes.

    Args:
        model: Fitted by `fit`.
        l2: Its penalty.
    """

    def __init__(self, model: LogisticModel, l2: float) -> None:
        self.model, self.l2 = model, l2

    @classmethod
    def fit(
        cls,
        sequence: SnapshotSequence,
        train: range,
        val: range,
        *,
        num_classes: int,
        penalties: tuple[float, ...] = PENALTIES,
    ) -> "FeatureLogistic":
        """Fit to the training steps with the penalty of the lowest cross entropy on `val`.

        Raises:
            ValueError: A step has no features, or a part has no labelled node.
        """
        features, labels = labelled_features(sequence, train)
        val_features, val_labels = labelled_features(sequence, val)
        if not len(val_labels):
            raise ValueError(f"no labelled node in the validation steps {val}")
        models = [
            fit_logistic(features, labels, num_classes=num_classes, l2=l2) for l2 in penalties
        ]
        losses = [mean_cross_entropy(model, val_features, val_labels) for model in models]
        best = int(np.argmin(losses))
        return cls(models[best], penalties[best])

    def update(self, snapshot: Snapshot) -> None:
        """Nothing is remembered."""

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "nodes classes"]:
        """Logits of every node."""
        return torch.from_numpy(self.model.logits(_features(snapshot)))


def labelled_features(
    sequence: SnapshotSequence, steps: range
) -> tuple[Float[ndarray, "items features"], Int[ndarray, " items"]]:
    """Features and classes of the labelled nodes of some steps.

    Raises:
        ValueError: A step has no features.
    """
    features, labels = [], []
    for step in steps:
        known, of_step = known_labels(sequence[step], "node_label")
        features.append(_features(sequence[step])[known.cpu().numpy()])
        labels.append(of_step.cpu().numpy())
    return np.concatenate(features), np.concatenate(labels)


def _features(snapshot: Snapshot) -> Float[ndarray, "nodes features"]:
    if snapshot.x is None:
        raise ValueError("regression on features needs snapshots with x")
    return snapshot.x.cpu().numpy().astype(np.float64)
