"""PyG's Data, EdgeIndex and TemporalData of one graph give one result, and come back."""

import dataclasses

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, TemporalData

from foretell.errors import UserError
from graphs.data.events import EdgeEvents, build_sequence
from graphs.data.pyg import (
    from_data_list,
    from_temporal_data,
    is_symmetric,
    to_data_list,
    to_temporal_data,
)
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig

FIELDS = ("edge_index", "weight", "edge_attr", "edge_label", "x", "node_label", "value", "present")


def same(one, other) -> None:
    assert len(one) == len(other) and one.directed == other.directed
    assert one.node_ids.tolist() == other.node_ids.tolist()
    for left, right in zip(one, other, strict=True):
        for name in FIELDS:
            a, b = getattr(left, name), getattr(right, name)
            assert (a is None) == (b is None), name
            if a is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def edges():
    """Three steps of 20 edges with weights, two attributes and labels."""
    rng = np.random.default_rng(0)
    return EdgeEvents(
        name="toy",
        source=rng.integers(0, 8, 60),
        target=rng.integers(0, 8, 60),
        node_ids=np.arange(8),
        step=np.repeat([0, 1, 2], 20),
        weight=rng.integers(1, 5, 60) / 2,
        label=rng.integers(0, 2, 60),
        attributes=rng.integers(0, 9, (60, 2)).astype(np.float32),
    )


@pytest.mark.parametrize("directed", [False, True])
def test_the_three_objects_and_our_own_give_equal_results(edges, directed):
    own = build_sequence(edges, DataConfig(directed=directed))

    def graph(step, wrap):
        rows = edges.step == step
        return Data(
            num_nodes=8,
            edge_index=wrap(torch.from_numpy(np.stack([edges.source, edges.target])[:, rows])),
            edge_weight=torch.from_numpy(edges.weight[rows]),
            edge_attr=torch.from_numpy(edges.attributes[rows]),
            y=torch.from_numpy(edges.label[rows]),
        )

    for wrap in (
        torch.Tensor.clone,
        lambda index: EdgeIndex(index.contiguous(), sparse_size=(8, 8)),
    ):
        graphs = [graph(step, wrap) for step in range(3)]
        same(from_data_list(graphs, directed=directed, target="edge"), own)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    stream = TemporalData(
        src=torch.from_numpy(edges.source)[order],
        dst=torch.from_numpy(edges.target)[order],
        t=torch.from_numpy(edges.step)[order],
        msg=torch.from_numpy(edges.attributes)[order],
        weight=torch.from_numpy(edges.weight)[order],
        y=torch.from_numpy(edges.label)[order],
    )
    config = DataConfig(step_s=0.0, directed=directed)
    same(from_temporal_data(stream, config, node_ids=np.arange(8)), own)
    same(from_temporal_data(to_temporal_data(own), config, node_ids=np.arange(8)), own)
    same(from_data_list(to_data_list(own, target="edge"), target="edge", directed=None), own)


def test_times_of_a_stream_are_cut_by_the_rule_of_steps():
    stream = TemporalData(
        src=torch.tensor([0, 1, 2]),
        dst=torch.tensor([1, 2, 0]),
        t=torch.tensor([100, 86_499, 86_500]),
    )
    sequence = from_temporal_data(stream, DataConfig())
    assert [snapshot.num_edges for snapshot in sequence] == [4, 2]
    assert sequence.step_s == 86_400 and sequence[0].edge_attr is None
    hourly = from_temporal_data(stream, DataConfig(step_s=3_600.0, drop_empty=True))
    assert len(hourly) == 3
    empty = TemporalData(src=torch.empty(0).long(), dst=torch.empty(0).long(), t=torch.empty(0))
    with pytest.raises(UserError, match="holds no edge"):
        from_temporal_data(empty, DataConfig())


def changing() -> list[Data]:
    """Node sets {5, 9}, {9, 2, 7}, {} by n_id."""
    return [
        Data(x=torch.tensor([[5.0], [9.0]]), y=torch.tensor([1, 0]), n_id=torch.tensor([5, 9]),
             edge_index=torch.tensor([[0, 1], [1, 0]])),
        Data(x=torch.tensor([[9.0], [2.0], [7.0]]), y=torch.tensor([0, 0, 1]),
             n_id=torch.tensor([9, 2, 7]), edge_index=torch.tensor([[0, 2], [2, 0]])),
        Data(x=torch.empty(0, 1), y=torch.empty(0).long(), n_id=torch.empty(0).long(),
             edge_index=torch.empty(2, 0).long()),
    ]  # fmt: skip


def test_nodes_come_and_go_by_their_ids():
    sequence = from_data_list(changing())
    assert sequence.node_ids.tolist() == [2, 5, 7, 9] and not sequence.directed
    assert [s.present.tolist() for s in sequence] == [
        [False, True, False, True], [True, False, True, True], [False] * 4,
    ]  # fmt: skip
    assert sequence[0].edge_index.tolist() == [[1, 3], [3, 1]]
    assert sequence[1].edge_index.tolist() == [[2, 3], [3, 2]]
    assert sequence[1].x.flatten().tolist() == [2, 0, 7, 9]
    assert [s.node_label.tolist() for s in sequence] == [
        [-1, 1, -1, 0], [0, -1, 1, 0], [-1] * 4,
    ]  # fmt: skip
    graphs = to_data_list(sequence)
    assert graphs[1].n_id.tolist() == [0, 2, 3] and graphs[1].x.flatten().tolist() == [2, 7, 9]
    same(from_data_list(graphs, node_ids=sequence.node_ids), sequence)


def test_without_ids_row_i_is_node_i_and_later_nodes_are_absent():
    graphs = [
        Data(num_nodes=2, edge_index=torch.tensor([[0], [1]]), y=torch.tensor([0.5, 1.5])),
        Data(num_nodes=3, edge_index=torch.tensor([[2], [0]]), y=torch.tensor([1.0, 2.0, 3.0])),
    ]
    sequence = from_data_list(graphs)
    assert sequence.directed and sequence[0].present.tolist() == [True, True, False]
    assert sequence[0].value[:2].tolist() == [0.5, 1.5] and sequence[0].value[2].isnan()
    assert sequence[0].x is None and sequence[0].weight.tolist() == [1.0]
    assert from_data_list(graphs, directed=False)[0].num_edges == 2


@pytest.mark.parametrize("file", ["soc-sign-bitcoinotc.csv", "out.radoslaw_email"])
def test_recorded_graphs_come_back(recorded, file):
    sequence = read_graph(DataConfig(path=str(recorded / file), max_steps=40))
    assert all(is_symmetric(snapshot) for snapshot in sequence)
    graphs = to_data_list(sequence, target="edge")
    again = from_data_list(graphs, target="edge", node_ids=sequence.node_ids)
    same(again, dataclasses.replace(sequence, class_names=()))
    stream = to_temporal_data(sequence)
    config = DataConfig(step_s=0.0, max_steps=40)
    same(from_temporal_data(stream, config, node_ids=sequence.node_ids), sequence)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge_index": torch.tensor([[0], [3]])}, r"graph 0: edge_index must lie in \[0, 3\)"),
        ({"edge_weight": torch.ones(2)}, "graph 0: edge_weight has 2 rows for 1 edges"),
        ({"edge_attr": torch.ones(2, 1)}, "graph 0: edge_attr has 2 rows"),
        ({"edge_weight": torch.tensor([-1.0])}, "weight must be finite and not negative"),
        ({"n_id": torch.tensor([0, 0, 1])}, "graph 0: n_id must number its 3 nodes, each once"),
        ({"n_id": torch.tensor([0, 1])}, "n_id must number its 3 nodes"),
        ({"y": torch.ones(2)}, "graph 0: 2 rows of nodes for 3"),
        ({"y": torch.tensor([0, 1, -2])}, "graph 0: y goes down to -2; number classes from 0"),
        ({"x": torch.tensor([[1.0], [float("nan")], [0.0]])}, "x of step 0 is not finite in row 1"),
        ({"edge_attr": torch.tensor([[float("inf")]])}, "edge_attr of step 0 is not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    graph = Data(num_nodes=3, edge_index=torch.tensor([[0], [1]]))
    for name, value in change.items():
        graph[name] = value
    with pytest.raises(ValueError, match=message):
        from_data_list([graph])


def test_a_class_may_mean_no_label():
    graph = Data(num_nodes=3, edge_index=torch.tensor([[0], [1]]), y=torch.tensor([0, 1, 2]))
    assert from_data_list([graph], unknown=2)[0].node_label.tolist() == [0, 1, -1]
    with pytest.raises(ValueError, match="graph 0: y must be whole numbers"):
        from_data_list([Data(num_nodes=3, edge_index=graph.edge_index, y=torch.tensor([0.5]))],
                       target="edge")  # fmt: skip
    events = TemporalData(
        src=torch.tensor([0, 1]), dst=torch.tensor([1, 2]), t=torch.tensor([0, 5]),
        msg=torch.ones(2, 1), y=torch.tensor([0.0, float("nan")]),
    )  # fmt: skip
    with pytest.raises(ValueError, match="TemporalData: y must be whole numbers"):
        from_temporal_data(events, DataConfig())
    events.y = torch.tensor([1.0, 3.0])
    labels = from_temporal_data(events, DataConfig(directed=True), unknown=3)[0].edge_label
    assert labels.tolist() == [1, -1]


def test_lists_that_do_not_fit_together_are_refused():
    pair = torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match="graphs is empty"):
        from_data_list([])
    graphs = [Data(num_nodes=2, edge_index=pair, edge_weight=torch.ones(1)),
              Data(num_nodes=2, edge_index=pair)]  # fmt: skip
    with pytest.raises(ValueError, match="weight stands in 1 of 2 graphs"):
        from_data_list(graphs)
    with pytest.raises(ValueError, match="graph 1: n_id reaches 4 of 3"):
        graphs = [Data(num_nodes=1, edge_index=pair[:, :0], n_id=torch.tensor([i])) for i in (0, 4)]
        from_data_list(graphs, node_ids=np.arange(3))
    sequence = from_data_list(changing())
    ghost = dataclasses.replace(sequence[0], present=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="step 0: node 1 has an edge but is not present"):
        to_data_list(dataclasses.replace(sequence, snapshots=(ghost,)))
