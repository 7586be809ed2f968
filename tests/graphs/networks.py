"""Small changing graphs and networks in float64, shared by tests."""

import torch
from references import Parameters, stacked_gates
from torch import Tensor

from graphs.data.adjacency import Adjacency
from graphs.data.features import OneHot
from graphs.data.snapshots import Snapshot, merge_pairs
from graphs.evolvegcn import EvolveGCN
from graphs.inputs import GraphInput

Edges = list[tuple[int, int]]


def random_edges(num_nodes: int, steps: int, seed: int = 0, per_step: int = 8) -> list[Edges]:
    """Edges of every step, some twice, some loops; the last node never has one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num_nodes - 1, (steps, per_step, 2), generator=generator)
    return [[(u, v) for u, v in step] for step in drawn.tolist()]


def both_ways(edges: Edges) -> Edges:
    return [pair for u, v in edges for pair in ((u, v), (v, u))]


def snapshot(num_nodes: int, edges: Edges) -> Snapshot:
    source, target = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    index, weight, _ = merge_pairs(
        source, target, torch.ones(len(edges)), num_nodes=num_nodes, directed=False
    )
    return Snapshot(num_nodes, index, weight)


def dense_input(num_nodes: int, edges: Edges, features: Tensor) -> GraphInput:
    one = snapshot(num_nodes, edges)
    return GraphInput(Adjacency.from_snapshot(one, dtype=torch.float64), features, one.active)


def one_hot_input(num_nodes: int, edges: Edges, width: int) -> GraphInput:
    one = snapshot(num_nodes, edges)
    hot = OneHot(one.out_degree.clamp(max=width - 1), width)
    return GraphInput(Adjacency.from_snapshot(one, dtype=torch.float64), hot, one.active)


def layer_parameters(model: EvolveGCN) -> list[Parameters]:
    """A network's parameters under the names of the references; gradients reach the network."""
    gates = {"gru": "ZRH", "lstm": "FIOC"}[model.config.resolved_cell]
    layers = []
    for layer in model.layers:
        cell = layer.evolution.cell
        rest = {"W_0": cell.initial} | ({} if layer.score is None else {"p": layer.score})
        layers.append(stacked_gates(gates, cell.of_input, cell.of_weight, cell.bias, **rest))
    return layers
