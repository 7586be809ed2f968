import subprocess
import sys

import networkx
import pytest
import torch
from torch import nn

from foretell.blocks.random_graph import gate_mask, graph_from_edges, layered_graph

KINDS = ("barabasi_albert", "watts_strogatz")


def edges_of(graph):
    """Edges read back from the masks."""
    pairs = [(i, i + 1, mask) for i, mask in enumerate(graph.masks)]
    pairs += [(skip.source_layer, skip.target_layer, skip.mask) for skip in graph.skips]
    return sorted(
        (graph.layers[source][j], graph.layers[target][i])
        for source, target, mask in pairs
        for i, j in mask.nonzero().tolist()
    )


def drawn(kind, num_nodes, seed):
    if kind == "barabasi_albert":
        return networkx.barabasi_albert_graph(num_nodes, num_nodes // 10, seed=seed)
    return networkx.connected_watts_strogatz_graph(num_nodes, num_nodes // 5, 1.0, 10, seed)


def test_diamond_with_a_skip():
    graph = graph_from_edges(5, [(0, 1), (2, 0), (1, 3), (3, 2), (0, 3), (3, 4), (0, 1), (4, 1)])
    assert graph.layers == ((0,), (1, 2), (3,), (4,))
    assert [mask.tolist() for mask in graph.masks] == [[[True], [True]], [[True, True]], [[True]]]
    skips = [(s.source_layer, s.target_layer, s.mask.tolist()) for s in graph.skips]
    assert skips == [(0, 2, [[True]]), (1, 3, [[True, False]])]
    assert graph.num_edges == 7


def test_two_sources_and_a_lonely_node():
    graph = graph_from_edges(4, [(0, 3), (1, 3)])
    assert graph.layers == ((0, 1, 2), (3,))
    assert graph.masks[0].tolist() == [[True, True, False]]
    assert graph.skips == ()


def test_no_edges():
    graph = graph_from_edges(3, [])
    assert graph.layers == ((0, 1, 2),) and graph.masks == graph.skips == ()
    assert graph.num_edges == 0


def test_chain():
    graph = graph_from_edges(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert graph.layers == ((0,), (1,), (2,), (3,))
    assert [(s.source_layer, s.target_layer) for s in graph.skips] == [(0, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_nodes", [10, 17, 50])
@pytest.mark.parametrize("seed", range(3))
def test_layers_of_random_graphs(kind, num_nodes, seed):
    graph = layered_graph(kind, num_nodes, seed=seed)
    reference = networkx.DiGraph(sorted(edge) for edge in drawn(kind, num_nodes, seed).edges)
    reference.add_nodes_from(range(num_nodes))
    assert edges_of(graph) == sorted(reference.edges)
    assert graph.num_edges == reference.number_of_edges()
    # Longest paths, by another way: peel off the nodes without predecessors.
    assert graph.layers == tuple(
        tuple(sorted(layer)) for layer in networkx.topological_generations(reference)
    )
    assert networkx.is_directed_acyclic_graph(networkx.DiGraph(edges_of(graph)))
    layer_of = {node: i for i, layer in enumerate(graph.layers) for node in layer}
    assert sorted(layer_of) == list(range(num_nodes))
    assert all(layer_of[u] < layer_of[v] and u < v for u, v in edges_of(graph))


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    graph = layered_graph(kind, 40, seed=1)
    sizes = [len(layer) for layer in graph.layers]
    assert [tuple(mask.shape) for mask in graph.masks] == list(
        zip(sizes[1:], sizes[:-1], strict=True)
    )
    assert graph.skips
    for mask in graph.masks:
        assert mask.dtype == torch.bool and mask.any(dim=1).all()
    for skip in graph.skips:
        assert skip.target_layer >= skip.source_layer + 2 and skip.mask.any()
        assert skip.mask.shape == (sizes[skip.target_layer], sizes[skip.source_layer])


@pytest.mark.parametrize("kind", KINDS)
def test_seed(kind):
    first, again, other = (edges_of(layered_graph(kind, 30, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_rewiring_probability():
    ring = layered_graph("watts_strogatz", 20, seed=0, p=0.0)
    expected = {tuple(sorted((u, (u + step) % 20))) for u in range(20) for step in (1, 2)}
    assert edges_of(ring) == sorted(expected)
    assert edges_of(layered_graph("watts_strogatz", 20, seed=0, p=0.3)) != sorted(expected)


@pytest.mark.parametrize("num_gates, cell", [(1, nn.RNN), (3, nn.GRU), (4, nn.LSTM)])
def test_gate_mask(num_gates, cell):
    adjacency = torch.tensor([[True, False, True], [False, True, False]])
    mask = gate_mask(adjacency, num_gates)
    assert mask.shape == cell(3, 2).weight_ih_l0.shape
    for gate in mask.chunk(num_gates):
        assert torch.equal(gate, adjacency)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: graph_from_edges(0, []), "num_nodes must be at least 1, got 0"),
        (lambda: graph_from_edges(3, [(1, 1)]), "edges must join two different nodes of 0 to 2"),
        (lambda: graph_from_edges(3, [(1, 3)]), r"got \(1, 3\)"),
        (lambda: graph_from_edges(3, [(-1, 0)]), r"got \(-1, 0\)"),
        (lambda: layered_graph("barabasi_albert", 9, seed=0), "num_nodes must be at least 10"),
        (lambda: layered_graph("watts_strogatz", 10, seed=0, p=1.1), "p must lie in .0, 1., got"),
        (lambda: gate_mask(torch.ones(1, 1).bool(), 0), "num_gates must be at least 1, got 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_never_connected(monkeypatch):
    def fail(*args, **kwargs):
        raise networkx.NetworkXError

    monkeypatch.setattr(networkx, "connected_watts_strogatz_graph", fail)
    with pytest.raises(ValueError, match="take another seed"):
        layered_graph("watts_strogatz", 10, seed=0)


def test_import_leaves_networkx_alone():
    code = """
import sys, torch
loaded = set(sys.modules)
import foretell.blocks.random_graph
assert not any(name.split(".")[0] == "networkx" for name in set(sys.modules) - loaded)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
