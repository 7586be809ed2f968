"""Days of autonomous systems: order, limit, both directions, damage."""

import gzip

import pytest

from foretell.errors import UserError
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig


def day(*edges: str, promised: int | None = None) -> list[str]:
    return [
        "# Directed graph (each unordered pair of nodes is saved once): as19971108.txt",
        "# The graph of routers",
        f"# Nodes: 3 Edges: {len(edges) if promised is None else promised}",
        "# FromNodeId\tToNodeId",
        *edges,
    ]


@pytest.fixture
def folder(write, tmp_path):
    write("as/as19971110.txt", *day("7\t9"))
    write("as/as19971108.txt", *day("1\t9", "1\t1"))
    packed = write("as/as19971109.txt", *day("1\t7", "7\t1"))
    (tmp_path / "as/as19971109.txt.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    write("as/README.txt", "not a day")
    return tmp_path / "as"


def test_days_in_order_with_both_directions(folder):
    sequence = read_graph(DataConfig(path=str(folder)))
    assert sequence.node_ids.tolist() == [1, 7, 9] and sequence.step_s is None
    assert [s.edge_index.T.tolist() for s in sequence] == [
        [[0, 0], [0, 2], [2, 0]],
        [[0, 1], [1, 0]],
        [[1, 2], [2, 1]],
    ]
    assert [s.weight.tolist() for s in sequence] == [[2.0, 1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]


def test_the_first_hundred_days_or_fewer(write, tmp_path):
    for number in range(103):
        write(f"as/as1998{1 + number // 28:02d}{1 + number % 28:02d}.txt", *day(f"1\t{number + 2}"))
    sequence = read_graph(DataConfig(path=str(tmp_path / "as")))
    assert len(sequence) == 100 and sequence.num_nodes == 101
    assert len(read_graph(DataConfig(path=str(tmp_path / "as"), max_steps=7))) == 7
    assert len(read_graph(DataConfig(path=str(tmp_path / "as"), max_steps=200))) == 103


def test_damage_is_told(folder, write, tmp_path):
    write("as/as19971111.txt", *day("7\t9", promised=5))
    with pytest.raises(UserError, match="as19971111.txt promises 5 edges, but 1 rows follow"):
        read_graph(DataConfig(path=str(folder)))
    write("as/as19971111.txt", *day("7\t9", "8"))
    with pytest.raises(UserError, match=r"as19971111.txt: line 6 has 1 column\(s\), not 2"):
        read_graph(DataConfig(path=str(folder)))
    write("as/as19971111.txt", *day())
    with pytest.raises(UserError, match="as19971111.txt holds no row"):
        read_graph(DataConfig(path=str(folder)))
    write("as/as19971111.txt", *day("7\t9"))
    write("as/as19971109.txt", *day("1\t7"))
    with pytest.raises(UserError, match="the day 19971109 twice"):
        read_graph(DataConfig(path=str(folder)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file of a day such as as19971108.txt"):
        read_graph(DataConfig(path=str(tmp_path / "empty"), kind="as733"))
