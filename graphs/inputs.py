"""What the networks read of a step: built once for each snapshot and kept."""

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from foretell.errors import UserError
from graphs.data.adjacency import Adjacency
from graphs.data.features import OneHot, degree_width, one_hot_degrees
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.model_config import FeatureConfig, NetworkConfig


@dataclass(frozen=True)
class GraphInput:
    """One step as a network sees it; no label is in it."""

    adjacency: Adjacency
    """The normalised graph."""
    features: OneHot | Float[Tensor, "nodes features"]
    """Of the nodes; a one-hot column is kept as its number."""
    active: Bool[Tensor, " nodes"]
    """Nodes with an edge at this step."""
    present: Bool[Tensor, " nodes"] | None = None
    """Nodes that exist at this step; none = all."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.active)

    @cached_property
    def dense_features(self) -> Float[Tensor, "nodes features"]:
        """The features as a matrix, for what is no linear map of them."""
        return self.features.dense() if isinstance(self.features, OneHot) else self.features


class InputBuilder:
    """Inputs of snapshots, each built once, however many windows it stands in.

    Args:
        config: How features are made, as a saved model knows it.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self._built: dict[tuple[int, ...], tuple[Snapshot, GraphInput]] = {}

    def build(self, snapshot: Snapshot) -> GraphInput:
        """The input of a step; one that differs in its targets alone is the same.

        Raises:
            UserError: Features are columns, and the snapshot has none or others.
        """
        key = (id(snapshot.edge_index), id(snapshot.x), id(snapshot.present))
        if (kept := self._built.get(key)) is not None:
            return kept[1]
        made = GraphInput(
            Adjacency.from_snapshot(snapshot),
            self._features(snapshot),
            snapshot.active,
            snapshot.present,
        )
        self._built[key] = (snapshot, made)  # with the snapshot its ids stay taken
        return made

    def _features(self, snapshot: Snapshot) -> OneHot | Float[Tensor, "nodes features"]:
        config = self.config
        if not config.columns:
            return one_hot_degrees(
                snapshot, config.feature_dim,
                degree=config.features.degree, directed=config.directed,
            )  # fmt: skip
        if snapshot.x is None or snapshot.x.shape[1] != config.feature_dim:
            found = "none" if snapshot.x is None else str(snapshot.x.shape[1])
            raise UserError(
                f"the model reads {config.feature_dim} columns of every node, the data have "
                f"{found}: give data of the kind it was trained on"
            )
        return snapshot.x


def feature_width(
    sequence: SnapshotSequence, features: FeatureConfig, *, train_steps: int
) -> tuple[int, bool]:
    """Width of the first layer's input, and whether it is columns of the data.

    Args:
        sequence: All steps.
        features: Which features.
        train_steps: The first so many steps may decide on the width.

    Raises:
        UserError: Columns are asked for and the data have none.
    """
    x = sequence[0].x
    if features.kind == "columns" and x is None:
        raise UserError(
            f"features.kind columns: {sequence.name} has no columns of nodes; set degree"
        )
    if x is not None and features.kind != "degree":
        return x.shape[1], True
    official = features.width == "official"
    known = max(len(sequence) - 1, 1) if official else train_steps
    width = degree_width(
        sequence.snapshots[:known],
        degree=features.degree,
        max_degree=None if official else features.max_degree,
        directed=sequence.directed,
    )
    return width, False
