"""Ahat against the dense formula in float64 and PyG's gcn_norm, with gradients."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphs.data.adjacency import Adjacency
from graphs.data.snapshots import Snapshot, merge_pairs

WEIGHTS = st.integers(0, 72).map(lambda eighths: eighths / 8)  # sums are exact in any order
EDGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), WEIGHTS), max_size=25)


def graph(edges, nodes: int = 6, *, directed: bool = False) -> Snapshot:
    """Of (source, target, weight); several edges may share a pair."""
    table = torch.tensor(edges, dtype=torch.float64).reshape(-1, 3)
    index, weight, _ = merge_pairs(
        table[:, 0].long(), table[:, 1].long(), table[:, 2], num_nodes=nodes, directed=directed
    )
    return Snapshot(num_nodes=nodes, edge_index=index, weight=weight)


def formula(snapshot: Snapshot) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 entry by entry."""
    nodes = snapshot.num_nodes
    a = torch.eye(nodes, dtype=torch.float64)
    for (u, v), w in zip(snapshot.edge_index.T.tolist(), snapshot.weight.tolist(), strict=True):
        a[u, v] += w
    d = a.sum(1)
    return torch.stack(
        [torch.stack([a[u, v] / (d[u] * d[v]).sqrt() for v in range(nodes)]) for u in range(nodes)]
    )


@given(EDGES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_the_dense_formula(edges, directed):
    snapshot = graph(edges, directed=directed)
    expected = formula(snapshot)
    ahat = Adjacency.from_snapshot(snapshot, dtype=torch.float64)
    torch.testing.assert_close(ahat.dense(), expected, rtol=1e-12, atol=1e-14)
    x = torch.arange(18, dtype=torch.float64).reshape(6, 3).sin()
    torch.testing.assert_close(ahat.propagate(x), expected @ x, rtol=1e-12, atol=1e-13)
    rows = torch.tensor([5, 0, 0, 3])
    torch.testing.assert_close(
        ahat.propagate_rows(x, rows), (expected @ x)[rows], rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(
        ahat.transpose().dense(), expected.T.contiguous(), rtol=1e-12, atol=1e-14
    )
    symmetric = torch.equal(expected, expected.T)
    # An edge of weight 0 is kept, so that its pattern may be one-sided where the numbers are not.
    kept = torch.equal(ahat.dense() != 0, expected != 0) and bool((snapshot.weight != 0).all())
    assert symmetric if ahat.transpose() is ahat else not (symmetric and kept)


def test_equals_gcn_norm_of_the_graph_with_loops():
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    snapshot = graph([(0, 1, 1), (0, 1, 2), (2, 2, 3), (3, 1, 0.5)])
    loops = torch.arange(6)
    index = torch.cat([snapshot.edge_index, loops.expand(2, 6)], 1)
    weight = torch.cat([snapshot.weight, torch.ones(6, dtype=torch.float64)])
    index, weight = gcn_norm(index, weight, num_nodes=6, add_self_loops=False)
    expected = torch.zeros(6, 6, dtype=torch.float64).index_put_(
        tuple(index), weight, accumulate=True
    )
    ahat = Adjacency.from_snapshot(snapshot, dtype=torch.float64)
    torch.testing.assert_close(ahat.dense(), expected)


def test_hand_computed_entries():
    """Pair 0-1 of weight 3, a loop of weight 2 (entered twice: 4) on 2, node 3 alone."""
    ahat = Adjacency.from_snapshot(graph([(0, 1, 3.0), (2, 2, 2.0)], nodes=4)).dense()
    expected = torch.tensor([[0.25, 0.75, 0, 0], [0.75, 0.25, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    torch.testing.assert_close(ahat, expected)
    assert ahat.dtype == torch.float32


def test_of_an_empty_graph_it_is_the_identity():
    ahat = Adjacency.from_snapshot(graph([]))
    x = torch.randn(6, 2, requires_grad=True)
    assert torch.equal(ahat.propagate(x), x)
    ahat.propagate(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(6, 2))
    assert ahat.propagate_rows(x, torch.empty(0, dtype=torch.int64)).shape == (0, 2)


@pytest.mark.parametrize("directed", [False, True])
def test_gradients_are_exact_also_of_directed_graphs(directed):
    edges = [(0, 1, 1.0), (1, 2, 2.0), (3, 3, 0.5), (4, 0, 1.0)]
    ahat = Adjacency.from_snapshot(graph(edges, directed=directed), dtype=torch.float64)
    assert (ahat.transpose() is ahat) != directed
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([2, 0, 0])
    assert torch.autograd.gradcheck(ahat.propagate, x)
    assert torch.autograd.gradcheck(lambda values: ahat.propagate_rows(values, rows), x)
    assert torch.autograd.gradgradcheck(lambda values: ahat.propagate(values).pow(3), x)


def test_permuting_nodes_permutes_the_result():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 30, (2, 80), generator=generator)
    order = torch.randperm(30, generator=generator)
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    moved = torch.empty_like(x)
    moved[order] = x

    def propagated(index, values):
        index, weight, _ = merge_pairs(*index, torch.ones(80), num_nodes=30, directed=True)
        snapshot = Snapshot(num_nodes=30, edge_index=index, weight=weight)
        return Adjacency.from_snapshot(snapshot, dtype=torch.float64).propagate(values)

    torch.testing.assert_close(propagated(order[edges], moved)[order], propagated(edges, x))


def test_halves_are_computed_in_the_operators_own_type():
    ahat = Adjacency.from_snapshot(graph([(0, 1, 1.0)]))
    x = torch.randn(6, 2)
    half = ahat.propagate(x.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, ahat.propagate(x.bfloat16().float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ahat.propagate(x).dtype == torch.float32
    with pytest.raises(ValueError, match="must be torch.float32 as the adjacency, got torch.f"):
        ahat.propagate(x.double())
    with pytest.raises(ValueError, match="must have 6 rows"):
        ahat.propagate(x[:5])


def test_no_warning_of_torch_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adjacency.from_snapshot(graph([(0, 1, 1.0)]))


def test_both_ways_to_transpose_agree():
    """On a GPU torch sorts; on a CPU scipy counts."""
    from graphs.data import adjacency

    rng = np.random.default_rng(0)
    dense = torch.from_numpy(rng.random((7, 5)) * (rng.random((7, 5)) < 0.4)).to_sparse_csr()
    parts = dense.crow_indices(), dense.col_indices(), dense.values()
    counted = adjacency.transposed(*parts, 5)
    sorted_ = adjacency.transposed_by_sorting(*parts, 5)
    for one, other in zip(counted, sorted_, strict=True):
        assert torch.equal(one, other)


@pytest.mark.gpu
def test_it_moves_to_a_gpu():
    ahat = Adjacency.from_snapshot(graph([(0, 1, 1.0), (1, 2, 2.0)], directed=True))
    x = torch.randn(6, 2)
    near, far = x.clone().requires_grad_(), x.cuda().requires_grad_()
    ahat.propagate(near).pow(2).sum().backward()
    ahat.to("cuda").propagate(far).pow(2).sum().backward()
    torch.testing.assert_close(far.grad.cpu(), near.grad)
