"""Block-model files: one direction or both give the same graph."""

import pytest

from foretell.errors import UserError
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig

ROWS = [(0, 1, 1, 0), (1, 2, 1, 0), (2, 2, 1, 0), (0, 2, 3, 2)]


def lines(rows) -> list[str]:
    return ["source,target,weight,time", *(",".join(map(str, row)) for row in rows)]


def test_both_directions_in_the_file_do_not_double_the_weights(write):
    turned = [(v, u, w, t) for u, v, w, t in ROWS if u != v]
    one = read_graph(DataConfig(path=str(write("sbm_one.csv", *lines(ROWS)))))
    both = read_graph(DataConfig(path=str(write("sbm_both.csv", *lines([*ROWS, *turned])))))
    assert len(one) == len(both) == 3 and not both.directed
    for left, right in zip(one, both, strict=True):
        assert left.edge_index.tolist() == right.edge_index.tolist()
    assert both[0].weight.tolist() == [1.0] * 5  # pairs and the loop as the file has them
    assert one[0].weight.tolist() == [1.0, 1.0, 1.0, 1.0, 2.0]
    assert both[2].weight.tolist() == [3.0, 3.0]
    path = str(write("sbm.csv", *lines([*ROWS, *turned])))
    kept = read_graph(DataConfig(path=path, directed=True))
    assert [s.edge_index.tolist() for s in kept] == [s.edge_index.tolist() for s in both]
    assert kept.directed


def test_unequal_weights_of_the_directions_are_two_edges(write):
    path = write("sbm.csv", *lines([(0, 1, 1, 0), (1, 0, 2, 0)]))
    assert read_graph(DataConfig(path=str(path)))[0].weight.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,1,-1,0", "line 3: weight -1 must not be negative"),
        ("0,1,1,0.5", "line 3: time '0.5' is not a whole number"),
        ("0,1,1", r"line 3 has 3 column\(s\), not 4"),
    ],
)
def test_damage_is_told(write, row, message):
    path = write("sbm.csv", *lines(ROWS[:1]), row)
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(path), kind="sbm"))


def test_seconds_of_a_step_have_no_meaning(write):
    path = write("sbm.csv", *lines(ROWS))
    with pytest.raises(UserError, match="numbers its steps, so data.step_s 60"):
        read_graph(DataConfig(path=str(path), kind="sbm", step_s=60.0))
