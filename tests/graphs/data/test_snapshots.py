"""Snapshots refuse what is no graph; pairs are merged as a matrix of counts would be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphs.data.snapshots import Snapshot, SnapshotSequence, merge_pairs


def snapshot(pairs: list[tuple[int, int]], nodes: int = 3, **fields: Tensor) -> Snapshot:
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    fields = {"weight": torch.ones(len(pairs)), **fields}
    return Snapshot(num_nodes=nodes, edge_index=index, **fields)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_merged_pairs_are_the_entries_of_the_count_matrix(edges, directed):
    counts = np.zeros((5, 5))
    for source, target in edges:
        counts[source, target] += 1
        if not directed:
            counts[target, source] += 1
    one, two = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    index, weight, pair = merge_pairs(
        one, two, torch.ones(len(edges)), num_nodes=5, directed=directed
    )
    np.testing.assert_array_equal(index.numpy(), np.stack(np.nonzero(counts)))
    np.testing.assert_array_equal(weight.numpy(), counts[np.nonzero(counts)])
    there = torch.stack([one, two])
    both = there if directed else torch.cat([there, there.flip(0)], 1)
    assert torch.equal(index[:, pair], both)


@pytest.mark.parametrize(
    ("pairs", "fields", "message"),
    [
        ([(1, 0), (0, 1)], {}, "sorted"),
        ([(0, 1), (0, 1)], {}, "each pair once"),
        ([(0, 3)], {}, r"\[0, 3\)"),
        ([(0, 1)], {"weight": torch.tensor([-1.0])}, "not negative"),
        ([(0, 1)], {"weight": torch.tensor([torch.nan])}, "finite"),
        ([(0, 1)], {"edge_label": torch.tensor([1, 0])}, "edge_label"),
    ],
)
def test_wrong_tensors_are_refused(pairs, fields, message):
    with pytest.raises(Exception, match=message) as caught:
        snapshot(pairs, **fields)
    assert caught.type is ValueError or "edge_label" in message  # shapes: the type checker's error


def test_degrees_active_nodes_and_keys():
    graph = snapshot([(0, 0), (0, 2), (2, 0)], nodes=4)
    assert graph.out_degree.tolist() == [2, 0, 1, 0]
    assert graph.active.tolist() == [True, False, True, False]
    assert graph.pair_keys.tolist() == [0, 2, 8]


def test_a_sequence_is_cut_by_slices_and_checks_its_ids():
    graphs = (snapshot([(0, 1)]), snapshot([]), snapshot([(1, 2)]))
    sequence = SnapshotSequence(name="three", snapshots=graphs, node_ids=np.arange(3))
    assert len(sequence[1:]) == 2 and sequence[1:][1] is graphs[2]
    with pytest.raises(ValueError, match="3.* nodes for 2 ids"):
        SnapshotSequence(name="three", snapshots=graphs, node_ids=np.arange(2))
    with pytest.raises(ValueError, match="no snapshot"):
        sequence[3:]
