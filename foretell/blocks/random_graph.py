"""Random graphs laid out in layers, the wiring of sparse recurrent networks (2407.20601)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from foretell.blocks.checks import check_choice

Kind = Literal["barabasi_albert", "watts_strogatz"]

MIN_NODES = 10
"""Fewest nodes: both kinds take a tenth or a fifth of them as a number of neighbours."""
MAX_TRIES = 10
"""Watts-Strogatz graphs drawn until one is connected."""


@dataclass(frozen=True, eq=False)
class SkipPair:
    """Edges between two layers that are not neighbours."""

    source_layer: int
    """Index of the layer that the edges leave."""
    target_layer: int
    """Index of the layer that they enter, at least source_layer + 2."""
    mask: Bool[Tensor, "targets sources"]
    """True where there is an edge; nodes in the order of their layer."""


@dataclass(frozen=True, eq=False)
class LayeredGraph:
    """Directed acyclic graph in layers; every edge enters a later layer."""

    layers: tuple[tuple[int, ...], ...]
    """Nodes of each layer, rising."""
    masks: tuple[Bool[Tensor, "_targets _sources"], ...]
    """Edges from layer i to layer i + 1; True where there is one."""
    skips: tuple[SkipPair, ...]
    """Pairs of layers further apart that have an edge, by source, then target."""

    @property
    def num_edges(self) -> int:
        """Number of edges between all layers."""
        masks = [*self.masks, *(skip.mask for skip in self.skips)]
        return sum(int(mask.sum()) for mask in masks)


def graph_from_edges(num_nodes: int, edges: Iterable[tuple[int, int]]) -> LayeredGraph:
    """Lay out an undirected graph: edges point to the higher index, layers are longest paths.

    The layer of a node is the number of edges of the longest path that leads to it from a node
    without predecessors (the rule of the deepstruct package), so a node has a predecessor in the
    layer before its own.

    Args:
        num_nodes: Nodes 0 .. num_nodes - 1.
        edges: Pairs of nodes in any order; repeated ones count once.
    """
    if num_nodes < 1:
        raise ValueError(f"num_nodes must be at least 1, got {num_nodes}")
    before: list[set[int]] = [set() for _ in range(num_nodes)]
    for edge in edges:
        low, high = sorted(edge)
        if low < 0 or high >= num_nodes or low == high:
            raise ValueError(
                f"edges must join two different nodes of 0 to {num_nodes - 1}, got {edge}"
            )
        before[high].add(low)
    depth: list[int] = []
    for sources in before:
        depth.append(max((depth[source] + 1 for source in sources), default=0))
    layers = tuple(
        tuple(node for node in range(num_nodes) if depth[node] == layer)
        for layer in range(max(depth) + 1)
    )

    def mask(source: int, target: int) -> Tensor:
        return torch.tensor([[u in before[v] for u in layers[source]] for v in layers[target]])

    return LayeredGraph(
        layers=layers,
        masks=tuple(mask(layer, layer + 1) for layer in range(len(layers) - 1)),
        skips=tuple(
            SkipPair(source, target, mask(source, target))
            for source in range(len(layers))
            for target in range(source + 2, len(layers))
            if mask(source, target).any()
        ),
    )


def layered_graph(
    kind: Kind,
    num_nodes: int,
    *,
    seed: int,
    p: float = 1.0,
) -> LayeredGraph:
    """Draw a random graph and lay it out in layers.

    Barabasi-Albert with num_nodes // 10 edges a new node, or connected Watts-Strogatz with
    num_nodes // 5 neighbours (2407.20601 draws num_nodes from 10 to 50 and keeps p = 1, which
    leaves little of the small world).

    Args:
        kind: Family of graphs.
        num_nodes: At least 10.
        seed: Of the generator; the graph also depends on the version of networkx.
        p: Probability of rewiring an edge, Watts-Strogatz only.
    """
    check_choice("kind", kind, Kind)
    if num_nodes < MIN_NODES:
        raise ValueError(f"num_nodes must be at least {MIN_NODES}, got {num_nodes}")
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1], got {p}")
    import networkx

    match kind:
        case "barabasi_albert":
            graph = networkx.barabasi_albert_graph(num_nodes, num_nodes // 10, seed=seed)
        case "watts_strogatz":
            try:
                graph = networkx.connected_watts_strogatz_graph(
                    num_nodes, num_nodes // 5, p, tries=MAX_TRIES, seed=seed
                )
            except networkx.NetworkXError as error:
                raise ValueError(
                    f"no connected graph of {num_nodes} nodes in {MAX_TRIES} tries with seed "
                    f"{seed}: take another seed"
                ) from error
    return graph_from_edges(num_nodes, graph.edges)


def gate_mask(
    adjacency: Bool[Tensor, "targets sources"], num_gates: int
) -> Bool[Tensor, "gated_targets sources"]:
    """Repeat the rows of a mask for each gate, gate by gate as torch stacks them.

    Args:
        adjacency: Edges, True where there is one.
        num_gates: 1 for nn.RNN, 3 for nn.GRU, 4 for nn.LSTM.

    Returns:
        Mask of weight_ih [num_gates * targets, sources].
    """
    if num_gates < 1:
        raise ValueError(f"num_gates must be at least 1, got {num_gates}")
    return adjacency.repeat(num_gates, 1)
