"""What the networks read of a step: built once for each snapshot and kept."""

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from graphs.data.adjacency import Adjacency
from graphs.data.features import OneHot


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
