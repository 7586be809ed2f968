"""A changing graph as a sequence of snapshots, one for each step of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """The graph of one step: ordered pairs, each once, with the summed weight of its edges.

    Nodes are numbered as in the whole sequence, so that a row means the same node at every step.
    An undirected graph holds every pair in both directions.

    Raises:
        ValueError: Shapes that do not fit, a node out of range, pairs out of order or twice, a
            weight that is negative or not finite.
    """

    num_nodes: int
    """N, nodes of the sequence."""
    edge_index: Int[Tensor, "2 edges"]
    """Sources and targets, sorted by source, then target."""
    weight: Float[Tensor, " edges"]
    """Summed weights of the edges of the step; their number where the file has none."""
    edge_attr: Float[Tensor, "edges columns"] | None = None
    """Columns of the file that describe an edge, averaged over the edges of a pair."""
    edge_label: Int[Tensor, " edges"] | None = None
    """Class of each pair, -1 = unknown. A target, never an input."""
    x: Float[Tensor, "nodes features"] | None = None
    """Features of the nodes; none = features are made of degrees."""
    node_label: Int[Tensor, " nodes"] | None = None
    """Class of each node whose label belongs to this step, else -1. A target, never an input."""
    value: Float[Tensor, " nodes"] | None = None
    """Number of each node at this step, NaN = unknown: what node regression forecasts."""
    present: Bool[Tensor, " nodes"] | None = None
    """Nodes that exist at this step; none = all."""

    def __post_init__(self) -> None:
        index, nodes = self.edge_index, self.num_nodes
        if nodes < 1:
            raise ValueError(f"num_nodes must be at least 1, got {nodes}")
        if index.dim() != 2 or len(index) != 2:
            raise ValueError(f"edge_index must be [2, edges], got {list(index.shape)}")
        sizes = dict.fromkeys(("weight", "edge_attr", "edge_label"), index.shape[1])
        sizes |= dict.fromkeys(("x", "node_label", "value", "present"), nodes)
        for name, size in sizes.items():
            tensor = getattr(self, name)
            if tensor is not None and len(tensor) != size:
                raise ValueError(f"{name} must have {size} rows, got {list(tensor.shape)}")
        if not index.numel():
            return
        if int(index.min()) < 0 or int(index.max()) >= nodes:
            raise ValueError(
                f"edge_index must lie in [0, {nodes}), got {int(index.min())} to {int(index.max())}"
            )
        key = self.pair_keys
        if not bool((key[1:] > key[:-1]).all()):
            raise ValueError("edge_index must be sorted by source and target, each pair once")
        if not bool((self.weight.isfinite() & (self.weight >= 0)).all()):
            raise ValueError("weight must be finite and not negative")

    @property
    def num_edges(self) -> int:
        """Ordered pairs."""
        return self.edge_index.shape[1]

    @property
    def pair_keys(self) -> Int[Tensor, " edges"]:
        """source * num_nodes + target of every pair, ascending."""
        return self.edge_index[0] * self.num_nodes + self.edge_index[1]

    @property
    def out_degree(self) -> Int[Tensor, " nodes"]:
        """Distinct targets of every node."""
        return torch.bincount(self.edge_index[0], minlength=self.num_nodes)

    @property
    def active(self) -> Bool[Tensor, " nodes"]:
        """Nodes with an edge, of either direction."""
        active = torch.zeros(self.num_nodes, dtype=torch.bool)
        active[self.edge_index.flatten()] = True
        return active


@dataclass(frozen=True)
class SnapshotSequence(Sequence[Snapshot]):
    """Snapshots of one graph in the order of time, empty steps included."""

    name: str
    """For messages, such as the file's name."""
    snapshots: tuple[Snapshot, ...]
    node_ids: np.ndarray
    """What the data call node 0, 1, ...; [num_nodes], numbers or text."""
    directed: bool = False
    """False: every pair stands in both directions."""
    step_s: float | None = None
    """Seconds of a step; none = the data number their steps."""
    start_s: float = 0.0
    """Unix time at which step 0 begins."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows of the data that were left out, by reason."""
    class_names: tuple[str, ...] = ()
    """What the data call the classes 0, 1, ... of pairs or nodes; empty = not known."""
    attribute_names: tuple[str, ...] = ()
    """Columns of `edge_attr`; empty = not known."""

    def __post_init__(self) -> None:
        if not self.snapshots:
            raise ValueError(f"{self.name} has no snapshot")
        sizes = {snapshot.num_nodes for snapshot in self.snapshots}
        if sizes != {len(self.node_ids)}:
            raise ValueError(
                f"{self.name}: snapshots have {sorted(sizes)} nodes for {len(self.node_ids)} ids"
            )

    @property
    def num_nodes(self) -> int:
        """Nodes of all steps together."""
        return len(self.node_ids)

    def __len__(self) -> int:
        return len(self.snapshots)

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self.snapshots)

    @overload
    def __getitem__(self, step: int) -> Snapshot: ...
    @overload
    def __getitem__(self, step: slice) -> "SnapshotSequence": ...
    def __getitem__(self, step: Any) -> Any:
        if isinstance(step, slice):
            return replace(self, snapshots=self.snapshots[step])
        return self.snapshots[step]


def merge_pairs(
    source: Int[Tensor, " edges"],
    target: Int[Tensor, " edges"],
    weight: Float[Tensor, " edges"],
    *,
    num_nodes: int,
    directed: bool,
) -> tuple[Int[Tensor, "2 pairs"], Float[Tensor, " pairs"], Int[Tensor, " both"]]:
    """Edges of a step to unique ordered pairs with summed weights.

    Without `directed` every edge counts in both directions, a self-loop twice, as in the released
    code of EvolveGCN.

    Returns:
        edge_index and weight as in `Snapshot`; and for every edge, then (undirected) for every
        edge turned round, the number of its pair.

    Example:
        >>> one, two = torch.tensor([0, 1]), torch.tensor([1, 0])
        >>> merge_pairs(one, two, torch.ones(2), num_nodes=2, directed=False)[:2]
        (tensor([[0, 1],
                [1, 0]]), tensor([2., 2.]))
    """
    if not directed:
        source, target = torch.cat([source, target]), torch.cat([target, source])
        weight = torch.cat([weight, weight])
    key, pair = torch.unique(source * num_nodes + target, return_inverse=True)
    total = torch.zeros(len(key), dtype=weight.dtype).index_add_(0, pair, weight)
    return torch.stack([key // num_nodes, key % num_nodes]), total, pair
