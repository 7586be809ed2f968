"""The most frequent class of all labels seen so far, for every item."""

import torch
from jaxtyping import Float
from torch import Tensor

from graphs.data.snapshots import Snapshot
from graphs.evaluation.labels import Target, known_labels


class MajorityClass:
    """One answer for all: every item ties, so its AUC is 0.5 and its minority F1 is 0.

    Args:
        num_classes: Classes.
        target: Labels of pairs or of nodes.
    """

    def __init__(self, num_classes: int, target: Target) -> None:
        self.target = target
        self._counts = torch.zeros(num_classes)

    def update(self, snapshot: Snapshot) -> None:
        """Count the labels of a step."""
        _, labels = known_labels(snapshot, self.target)
        self._counts += torch.bincount(labels.cpu(), minlength=len(self._counts))

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "items classes"]:
        """1 for the most frequent class, of equals the smallest; 0 for the others."""
        edges = self.target == "edge_label"
        items = snapshot.num_edges if edges else snapshot.num_nodes
        logits = torch.zeros(items, len(self._counts))
        logits[:, self._counts.argmax()] = 1
        return logits
