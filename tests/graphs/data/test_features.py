"""Columns of degrees: published widths, caps, bins, and the one-hot matrix they stand for."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.data.features import (
    OneHot,
    degree_columns,
    degree_width,
    distinct_neighbours,
    one_hot_degrees,
)
from graphs.data.readers import read_graph
from graphs.data.snapshots import Snapshot, SnapshotSequence, merge_pairs
from graphs.data_config import DataConfig


def star(leaves: int, nodes: int, *, directed: bool = False) -> Snapshot:
    """Node 0 beside the next `leaves` nodes; directed, they point at it."""
    index, weight, _ = merge_pairs(
        torch.arange(1, leaves + 1),
        torch.zeros(leaves, dtype=torch.int64),
        torch.ones(leaves),
        num_nodes=nodes,
        directed=directed,
    )
    return Snapshot(num_nodes=nodes, edge_index=index, weight=weight)


def stars(*leaves: int, nodes: int = 40) -> SnapshotSequence:
    graphs = tuple(star(count, nodes) for count in leaves)
    return SnapshotSequence(name="stars", snapshots=graphs, node_ids=np.arange(nodes))


@pytest.mark.parametrize(
    ("file", "train_steps", "width"),
    [("soc-sign-bitcoinotc.csv", 95, 145), ("out.opsahl-ucsocial", 62, 167)],
)
def test_published_widths_whichever_rule(recorded, file, train_steps, width):
    sequence = read_graph(DataConfig(path=str(recorded / file)))
    for rule in ("official", "train"):
        columns = degree_columns(sequence, train_steps=train_steps, width=rule)
        assert {one.width for one in columns} == {width}
    for one, snapshot in zip(columns, sequence, strict=True):
        assert torch.equal(one.index, snapshot.out_degree.clamp(max=width - 1))


def test_a_cap_is_told_and_clamps_to_the_last_column(caplog):
    sequence = stars(5, 9, 3, 20)
    with caplog.at_level(logging.INFO, logger="graphs"):
        columns = degree_columns(sequence, train_steps=2, max_degree=4)
    assert "degrees reach 9; those above 4 share the last of 5 columns" in caplog.text
    assert [int(one.index[0]) for one in columns] == [4, 4, 3, 4]
    wide = degree_columns(sequence, train_steps=2)  # later degrees are not looked at
    assert wide[0].width == 10 and int(wide[3].index[0]) == 9
    official = degree_columns(sequence, train_steps=1, width="official", max_degree=4)
    assert official[0].width == 10 and int(official[3].index[0]) == 9


def test_one_step_alone_has_a_width():
    assert degree_columns(stars(3), train_steps=1, width="official")[0].width == 4
    with pytest.raises(ValueError, match="needs a snapshot"):
        degree_width([])


@given(st.integers(0, 39))
@settings(max_examples=40, deadline=None)
def test_log_bins_double(leaves):
    one = one_hot_degrees(star(leaves, 40), 50, degree="log_bins")
    expected = 0 if leaves == 0 else int(np.floor(np.log2(leaves))) + 1
    assert int(one.index[0]) == expected
    assert degree_width([star(leaves, 40)], degree="log_bins") == expected + 1


def test_directed_neighbours_of_either_side_count_once():
    graph = star(3, 5, directed=True)
    assert distinct_neighbours(graph).tolist() == [0, 1, 1, 1, 0]
    assert distinct_neighbours(graph, directed=True).tolist() == [3, 1, 1, 1, 0]
    both = star(3, 5)
    assert torch.equal(distinct_neighbours(both, directed=True), both.out_degree)


def test_the_index_stands_for_the_matrix():
    index = torch.tensor([2, 0, 2])
    one = OneHot(index, 4)
    assert one.dense().tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    weight = torch.randn(4, 3)
    torch.testing.assert_close(one.dense() @ weight, weight[index])
    with pytest.raises(ValueError, match=r"\[0, 2\), got 0 to 2"):
        OneHot(index, 2)
