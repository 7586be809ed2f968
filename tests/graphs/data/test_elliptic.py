"""Both layouts of Elliptic are the same graph; classes belong to a node's one step."""

import gzip

import pytest
import torch

from foretell.errors import UserError
from graphs.data.generate import write_elliptic
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig

IDS = [230, 5530, 232, 7, 9]  # not in order
STEPS = [0, 0, 0, 2, 2]


@pytest.fixture
def official(write, tmp_path):
    rows = [f"{i},{s + 1},{i / 10},{s}" for i, s in zip(IDS, STEPS, strict=True)]
    write("e/elliptic_txs_features.csv", *rows)
    write("e/elliptic_txs_classes.csv", "txId,class", "230,1", "5530,0", "232,-1", "7,1", "9,-1")
    times = [f"{i}.0,{s}.0" for i, s in zip(IDS, STEPS, strict=True)]
    write("e/elliptic_txs_nodetime.csv", "txId,timestep", *times)
    write(
        "e/elliptic_txs_edgelist_timed.csv",
        "txId1,txId2,timestep", "230,5530,0", "232,230,0", "7,9,2",
    )  # fmt: skip
    return tmp_path / "e"


@pytest.fixture
def kaggle(official, write, tmp_path):
    (tmp_path / "k").mkdir()
    features = (official / "elliptic_txs_features.csv").read_bytes()
    (tmp_path / "k/elliptic_txs_features.csv.gz").write_bytes(gzip.compress(features))
    write(
        "k/elliptic_txs_classes.csv",
        "txId,class", "230,1", "5530,2", "232,unknown", "7,1", "9,unknown",
    )  # fmt: skip
    write("k/elliptic_txs_edgelist.csv", "txId1,txId2", "230,5530", "232,230", "7,9")
    return tmp_path / "k"


def test_both_layouts_are_the_same_graph(official, kaggle):
    one, two = (read_graph(DataConfig(path=str(folder))) for folder in (official, kaggle))
    assert one.node_ids.tolist() == two.node_ids.tolist() == IDS
    assert one.class_names == ("licit", "illicit") and len(one) == len(two) == 3
    for left, right in zip(one, two, strict=True):
        for name in ("edge_index", "weight", "x", "node_label", "present"):
            assert torch.equal(getattr(left, name), getattr(right, name))


def test_labels_and_nodes_of_each_step(official):
    sequence = read_graph(DataConfig(path=str(official)))
    assert [s.node_label.tolist() for s in sequence] == [
        [1, 0, -1, -1, -1], [-1] * 5, [-1, -1, -1, 1, -1],
    ]  # fmt: skip
    assert sequence[0].present.tolist() == [True, True, True, False, False]
    assert not sequence[1].present.any() and sequence[1].num_edges == 0
    assert sequence[0].edge_index.T.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    assert sequence[2].x is sequence[0].x


def test_the_column_of_the_time_step_can_be_dropped(official):
    kept = read_graph(DataConfig(path=str(official)))[0].x
    dropped = read_graph(DataConfig(path=str(official), drop_time_column=True))[0].x
    assert kept[:, 0].tolist() == [1, 1, 1, 3, 3]
    assert torch.equal(kept[:, 1:], dropped) and dropped.shape == (5, 2)


@pytest.mark.parametrize(("drop", "width"), [(False, 166), (True, 165)])
def test_published_widths(tmp_path, drop, width):
    folder = write_elliptic(tmp_path / "e", num_steps=3, nodes_per_step=10, num_features=165)
    sequence = read_graph(DataConfig(path=str(folder), drop_time_column=drop))
    assert sequence[0].x.shape == (30, width) and len(sequence) == 3


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("features", ["230,1,2", "230,1,3"], "line 2: transaction 230 stands there twice"),
        ("features", ["230,1,2", "231,1"], r"line 2 has 2 column\(s\), not 3"),
        ("classes", ["txId,class", "230,3"], "line 2: class '3' is none of 1, 0, unknown, -1"),
        ("classes", ["txId,class", "230,2", "7,0"], "line 3: class '0' is none of 1, 2, unknown"),
        ("classes", ["txId,class", "1,1"], "line 2: transaction 1 is not in elliptic_txs_fea"),
        ("nodetime", ["txId,timestep", "230,0"], "lacks transaction 5530"),
        ("nodetime", ["txId,timestep", "230,-2"], "line 2: timestep must not be negative"),
        ("edgelist_timed", ["a,b,c", "230,231,0"], "line 2: transaction 231 is not in"),
        ("edgelist_timed", ["a,b,c", "230,232,-1"], "line 2: timestep must not be negative"),
    ],
)
def test_damage_is_told(official, write, name, lines, message):
    write(f"e/elliptic_txs_{name}.csv", *lines)
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(official)))


def test_missing_files_are_named(official, kaggle):
    (official / "elliptic_txs_nodetime.csv").unlink()
    with pytest.raises(UserError, match="holds no elliptic_txs_nodetime.csv"):
        read_graph(DataConfig(path=str(official)))
    (kaggle / "elliptic_txs_edgelist.csv").unlink()
    with pytest.raises(UserError, match="no elliptic_txs_edgelist.csv nor elliptic_txs_edgelist_t"):
        read_graph(DataConfig(path=str(kaggle)))
    (kaggle / "elliptic_txs_classes.csv").unlink()
    with pytest.raises(UserError, match="holds no elliptic_txs_classes.csv"):
        read_graph(DataConfig(path=str(kaggle)))
