"""Subreddit links: unknown nodes, days, labels by majority, damage."""

import gzip

import numpy as np
import pytest

from foretell.errors import UserError
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig

HEADER = "SOURCE_SUBREDDIT\tTARGET_SUBREDDIT\tPOST_ID\tTIMESTAMP\tLINK_SENTIMENT\tPROPERTIES"
TITLE, BODY = "soc-redditHyperlinks-title.tsv", "soc-redditHyperlinks-body.tsv"
NODES = "web-redditEmbeddings-subreddits.csv"


def link(source: str, target: str, time: str, label: int) -> str:
    return f"{source}\t{target}\t1u4abcs\t{time}\t{label}\t345.0,298.0,0.75"


@pytest.fixture
def folder(write, tmp_path):
    write(f"r/{NODES}", *(f"{n},{','.join(['0.5'] * 299)},{i}" for i, n in enumerate("cab")))
    write(
        f"r/{TITLE}",
        HEADER,
        link("a", "b", "2013-12-31 23:59:58", -1),
        link("a", "gone", "2014-01-01 00:00:01", 1),
        link("b", "a", "2014-01-06 23:00:00", 1),
        link("c", "b", "2014-01-07 00:00:00", 1),
    )
    write(f"r/{BODY}", HEADER, link("a", "b", "2014-01-06 01:00:00", 1))
    return tmp_path / "r"


def test_both_files_with_the_nodes_of_the_csv(folder):
    sequence = read_graph(DataConfig(path=str(folder)))
    assert sequence.node_ids.tolist() == ["c", "a", "b"]  # the order of the csv
    assert sequence.dropped == {"subreddit not in the node csv": 1}
    # The first day is cut to midnight, so that 7 January begins the second week.
    assert [s.edge_index.T.tolist() for s in sequence] == [[[1, 2], [2, 1]], [[0, 2], [2, 0]]]
    assert sequence[0].weight.tolist() == [3.0, 3.0]
    assert sequence[0].edge_label.tolist() == [1, 1] and sequence.step_s == 7 * 86_400
    assert sequence[0].x.shape == (3, 300) and sequence[0].x[:, 299].tolist() == [0.0, 1.0, 2.0]
    assert sequence[1].x is sequence[0].x  # one tensor for all steps


def test_one_file_alone_plain_or_compressed(folder):
    body = folder / BODY
    alone = read_graph(DataConfig(path=str(body)))
    assert len(alone) == 1 and alone[0].edge_label.tolist() == [1, 1]
    packed = folder / f"{TITLE}.gz"
    packed.write_bytes(gzip.compress((folder / TITLE).read_bytes()))
    (folder / TITLE).unlink()
    assert len(read_graph(DataConfig(path=str(folder)))) == 2


def test_without_the_node_csv_all_stay_and_it_is_told(folder, caplog):
    (folder / NODES).unlink()
    sequence = read_graph(DataConfig(path=str(folder)))
    assert sequence.node_ids.tolist() == ["a", "b", "c", "gone"] and sequence[0].x is None
    assert "no node csv beside the links" in caplog.text


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (TITLE, [HEADER, link("a", "b", "2014-01-01", 0)], "line 2: label 0 is neither 1 nor -1"),
        (TITLE, [HEADER, link("a", "b", "soon", 1)], "line 2: time 'soon' is no date"),
        (TITLE, [HEADER, "a\tb\tx\t2014-01-01"], r"line 2 has 4 column\(s\), not 6"),
        (NODES, ["a,1,2", "b,1,x"], "line 2: number 2 'x' is not a finite number"),
        (NODES, ["a,1,2", "b,3,4", "a,5,6"], "line 3: subreddit 'a' stands there twice"),
        (NODES, ["a", "b"], "has no numbers after the names"),
        (
            TITLE,
            [HEADER, link("x", "y", "2014-01-01", 1)],
            "holds no edge .1 rows dropped: subreddit",
        ),
    ],
)
def test_damage_is_told(folder, write, name, lines, message):
    if name == TITLE:
        (folder / BODY).unlink()
    write(f"r/{name}", *lines)
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(folder)))


def test_two_node_files_are_ambiguous(folder, write):
    write("r/my-embeddings.csv", "a,1")
    with pytest.raises(UserError, match="several node csv files"):
        read_graph(DataConfig(path=str(folder)))


def test_ties_of_labels_are_negative(folder, write):
    (folder / BODY).unlink()
    times = ["2014-01-01", "2014-01-02"]
    write(f"r/{TITLE}", HEADER, link("a", "b", times[0], 1), link("b", "a", times[1], -1))
    assert read_graph(DataConfig(path=str(folder)))[0].edge_label.tolist() == [0, 0]
    assert np.isfinite(read_graph(DataConfig(path=str(folder)))[0].x.numpy()).all()
