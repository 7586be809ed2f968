"""Tennis and covid files: shapes, order of keys, values; damage."""

import json

import numpy as np
import pytest
import torch

from foretell.errors import UserError
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig


def test_tennis_equals_its_lists(recorded):
    path = recorded / "twitter_tennis_rg17.json"
    content = json.loads(path.read_text())
    sequence = read_graph(DataConfig(path=str(path), directed=True))
    assert (len(sequence), sequence.num_nodes, sequence.step_s) == (120, 1_000, None)
    assert sequence.node_ids[:2].tolist() == ["rolandgarros", "RafaelNadal"]
    assert sum(snapshot.num_edges for snapshot in sequence) == 40_839
    for step in (0, 7, 119):
        entry, snapshot = content[str(step)], sequence[step]
        order = np.lexsort(np.array(entry["edges"]).T[::-1])
        assert snapshot.edge_index.T.tolist() == np.array(entry["edges"])[order].tolist()
        assert snapshot.weight.tolist() == np.array(entry["weights"])[order].tolist()
        torch.testing.assert_close(snapshot.value, torch.tensor(entry["y"]).float())
        torch.testing.assert_close(snapshot.x, torch.tensor(entry["X"]).float())


def test_covid_days_are_sorted_as_numbers(recorded):
    path = recorded / "england_covid.json"
    content = json.loads(path.read_text())
    assert list(content["edge_mapping"]["edge_index"])[:2] == ["50", "34"]  # not in order
    sequence = read_graph(DataConfig(path=str(path), directed=True))
    assert (len(sequence), sequence.num_nodes) == (61, 129)
    for day in (0, 2, 10, 60):
        pairs = np.array(content["edge_mapping"]["edge_index"][str(day)])
        weights = np.array(content["edge_mapping"]["edge_weight"][str(day)])
        order = np.lexsort(pairs.T[::-1])
        assert sequence[day].edge_index.T.tolist() == pairs[order].tolist()
        np.testing.assert_array_equal(sequence[day].weight, weights[order].astype(np.float32))
        assert sequence[day].value.tolist() == content["y"][day] and sequence[day].x is None
    both = read_graph(DataConfig(path=str(path)))
    assert float(both[0].weight.double().sum()) == 2 * float(sequence[0].weight.double().sum())


def entry(**change) -> dict:
    return {"edges": [[0, 1]], "weights": [2], "y": [1, None, 3], "X": [[1], [2], [3]]} | change


def tennis(*entries, **more) -> dict:
    return {str(step): one for step, one in enumerate(entries)} | more


def test_unknown_values_and_steps_without_edges(write):
    content = tennis(entry(), entry(edges=[], weights=[]), entry())
    sequence = read_graph(DataConfig(path=str(write("a.json", json.dumps(content)))))
    assert len(sequence) == 3 and sequence[1].num_edges == 0
    assert sequence[0].value.isnan().tolist() == [False, True, False]
    assert sequence.node_ids.tolist() == [0, 1, 2]


COVID = {"edge_index": {"0": [[0, 1]], "1": [[1, 0]]}, "edge_weight": {"0": [1], "1": [1]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 2, column 1: no JSON"),
        ('{"0": {"edges": [[0, 1]], "wei', "no JSON .*cut short"),
        ([1], "must hold a JSON object, got a list"),
        ({"a": 1}, "neither numbered steps nor edge_mapping"),
        (tennis(entry(), time_periods=3), r"promises 3 steps \(time_periods\) and holds 1"),
        ({"0": entry(), "2": entry()}, "lacks step 1"),
        ({"0": {"edges": [], "y": []}}, "step 0 has no 'weights'"),
        (tennis(entry(), entry(weights=[-1])), "step 1: weights must be finite and not negative"),
        (tennis(entry(), entry(weights=[None])), "step 1: weights must be finite"),
        (tennis(entry(weights=[1, 2])), r"step 0: \[2\] weights for edges \[1, 2\]"),
        (tennis(entry(edges=[[0, 3]])), r"step 0: edges name nodes outside 0\.\.2"),
        (tennis(entry(edges=[[0, 1], [2]])), "step 0: edges must hold numbers, and rows of equal"),
        (tennis(entry(), entry(y=[1, 2])), "step 1: y has 2 numbers for 3 nodes"),
        (tennis(entry(), entry(y=["a", 2, 3])), "step 1: y must hold numbers"),
        (tennis(entry(), entry(X=[[1]])), r"X must be \[3, features\] at every step"),
        (tennis(entry(), entry(X=None)), "X stands at 1 of 2 steps"),
        (tennis(entry(), entry(X=[[1], [None], [3]])), "step 1: X must be finite"),
        (tennis(entry(), node_ids={"a": 0}), "node_ids must number 3 nodes"),
        ({"edge_mapping": COVID}, "lacks 'y'"),
        ({"edge_mapping": COVID, "y": [[1, 2]]}, "lacks list index out of range"),
        ({"edge_mapping": {**COVID, "edge_index": {"a": [[0, 1]]}}, "y": []}, "numbered from 0"),
    ],
)
def test_damage_is_told(write, content, message):
    path = write("a.json", content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(path)))


def test_text_that_is_not_utf8_is_told(write):
    with pytest.raises(UserError, match="line 1 is not UTF-8"):
        read_graph(DataConfig(path=str(write("a.json", b'{"\xff": 1}'))))
