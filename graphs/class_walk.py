"""A trained network along a sequence: classes of edges or nodes, and numbers of nodes."""

from jaxtyping import Float
from torch import Tensor

from graphs.data.snapshots import Snapshot
from graphs.inputs import InputBuilder
from graphs.network import GraphNetwork
from graphs.objectives import edge_logits, node_values
from graphs.walk import Walk


class _Asked:
    """Takes a step in when it is asked for, labels hidden, or at the latest when it is revealed."""

    def __init__(self, network: GraphNetwork, builder: InputBuilder, num_nodes: int) -> None:
        self.network = network
        self.walk = Walk(network, builder, num_nodes)
        self._x: Tensor | None = None

    def update(self, snapshot: Snapshot) -> None:
        """The labels and values of the step that was asked for."""
        self._take(snapshot)
        self.walk.reveal(snapshot)
        self._x = None

    def _take(self, snapshot: Snapshot) -> Tensor:
        if self._x is None:
            self._x = self.walk.advance(snapshot)
        return self._x


class TrainedClasses(_Asked):
    """A trained network as a `LabelPredictor` of edges or nodes, by its task."""

    def logits(self, snapshot: Snapshot) -> Float[Tensor, "items classes"]:
        """Of all pairs or all nodes of the step."""
        x = self._take(snapshot)
        if self.network.config.task == "edge":
            return edge_logits(self.network, x, snapshot, self.walk.structure)
        logits: Tensor = self.network.decoder(x)
        return logits


class TrainedValues(_Asked):
    """A trained network as a `ValuePredictor`."""

    def values(self, snapshot: Snapshot) -> Float[Tensor, " nodes"]:
        """Forecast of every node's number at the step."""
        return node_values(self.network, self._take(snapshot), self.walk.structure)
