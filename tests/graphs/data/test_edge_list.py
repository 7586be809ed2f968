"""A user's own edges, as CSV and as Parquet: ids, times, columns, and every bad row."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from foretell.errors import UserError
from graphs.data.edge_list import read_edge_list
from graphs.data.readers import read_graph
from graphs.data_config import ColumnsConfig, DataConfig

FULL = ColumnsConfig(
    source="from", target="to", time="when", weight="amount", label="kind", attributes=["a", "b"]
)
FRAME = pd.DataFrame(
    {
        "note": ["x", "y, z", 'q "r"', "", "e"],
        "from": ["ann", "bob", "ann", "cid", "ann"],
        "to": ["bob", "ann", "cid", "cid", "bob"],
        "when": [0.0, 90_000.0, 10.0, 86_399.0, 20.0],
        "amount": [1.5, 2.0, 3.0, 0.0, 0.5],
        "kind": ["good", "bad", None, "good", "bad"],
        "a": [1, 2, 3, 4, 5],
        "b": [0.5, 0.25, 0.0, -1.0, 1.5],
    }
)


def same(one, other) -> None:
    assert one.node_ids.tolist() == other.node_ids.tolist()
    assert one.class_names == other.class_names and len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for name in ("edge_index", "weight", "edge_label", "edge_attr"):
            assert torch.equal(getattr(left, name), getattr(right, name))


def test_csv_and_parquet_give_one_graph(tmp_path):
    FRAME.to_csv(tmp_path / "comma.csv", index=False)
    FRAME.to_csv(tmp_path / "semi.csv", index=False, sep=";")
    FRAME.to_csv(tmp_path / "tab.tsv.gz", index=False, sep="\t")
    FRAME.to_parquet(tmp_path / "plain.parquet")
    FRAME.assign(**{"from": FRAME["from"].astype("category")}).to_parquet(tmp_path / "category")
    first = read_graph(DataConfig(path=str(tmp_path / "comma.csv"), columns=FULL))
    assert first.node_ids.tolist() == ["ann", "bob", "cid"]
    assert first.attribute_names == ("a", "b") and first.class_names == ("bad", "good")
    assert first.step_s == 86_400
    day = first[0]
    assert day.edge_index.T.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0], [2, 2]]
    assert day.weight.tolist() == [2.0, 3.0, 2.0, 3.0, 0.0]
    assert day.edge_label.tolist() == [0, -1, 0, -1, 1]  # a tie of bad and good; unknown; good
    assert day.edge_attr.tolist() == [[3, 1], [3, 0], [3, 1], [3, 0], [4, -1]]
    for name in ("semi.csv", "tab.tsv.gz", "plain.parquet", "category"):
        same(first, read_graph(DataConfig(path=str(tmp_path / name), columns=FULL)))


def test_times_may_be_dates_or_numbers_of_every_kind(tmp_path, write):
    seconds = np.array([1388534398, 1388534400, 1390000000])
    texts = [pd.Timestamp(s, unit="s").isoformat(sep=" ") for s in seconds]
    ends = pd.DataFrame({"source": [1, 2, 3], "target": [2, 3, 1]})
    forms = {
        "seconds": seconds,
        "floats": seconds.astype(float),
        "texts": texts,
        "moments": pd.to_datetime(texts),
        "zone": pd.to_datetime(texts, utc=True).tz_convert("Asia/Tokyo"),
        "nano": pd.to_datetime(texts).astype("datetime64[ns]"),
    }
    for name, time in forms.items():
        frame = ends.assign(time=time)
        frame.to_parquet(tmp_path / f"{name}.parquet")
        found = read_edge_list(tmp_path / f"{name}.parquet", ColumnsConfig())
        np.testing.assert_array_equal(found.time_s, seconds, err_msg=name)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        found = read_edge_list(tmp_path / f"{name}.csv", ColumnsConfig())
        np.testing.assert_array_equal(found.time_s, seconds, err_msg=name)
    days = ends.assign(time=pd.to_datetime(texts).date)
    days.to_parquet(tmp_path / "days.parquet")
    found = read_edge_list(tmp_path / "days.parquet", ColumnsConfig()).time_s
    assert found.tolist() == [float(s // 86_400 * 86_400) for s in seconds]


def test_numbered_steps(write):
    path = write("a.csv", "source,target,time", "1,2,10", "2,3,12.0", "3,1,10")
    sequence = read_graph(DataConfig(path=str(path), kind="edges", step_s=0.0))
    assert [snapshot.num_edges for snapshot in sequence] == [4, 0, 2]
    path = write("b.csv", "source,target,time", "1,2,10", "2,3,1.5")
    with pytest.raises(UserError, match=r"line 3: time 1.5 is no number of a step"):
        read_graph(DataConfig(path=str(path), kind="edges", step_s=0.0))


def test_ids_are_numbers_only_if_all_are(write, tmp_path):
    head = "source,target,time"
    numbers = read_edge_list(write("a.csv", head, "10,9,0", "-3,10,0"), ColumnsConfig())
    assert numbers.node_ids.tolist() == [-3, 9, 10] and numbers.source.tolist() == [2, 0]
    zeros = read_edge_list(write("b.csv", head, "007,7,0", "NA,7,0"), ColumnsConfig())
    assert zeros.node_ids.tolist() == ["007", "7", "NA"]
    pd.DataFrame({"source": [1.0, 2.0], "target": [2, 5], "time": [0, 0]}).astype(
        {"target": float}
    ).to_parquet(tmp_path / "floats.parquet")
    floats = read_edge_list(tmp_path / "floats.parquet", ColumnsConfig())
    assert floats.node_ids.tolist() == [1, 2, 5] and floats.node_ids.dtype == np.int64
    big = np.array([2**64 - 1, 2**63], np.uint64)
    pd.DataFrame({"source": big, "target": big[::-1], "time": [0, 0]}).to_parquet(
        tmp_path / "big.parquet"
    )
    hashes = read_edge_list(tmp_path / "big.parquet", ColumnsConfig())
    assert hashes.node_ids.tolist() == [str(2**64 - 1), str(2**63)]


def test_labels_are_classes_in_ascending_order(write):
    columns = ColumnsConfig(label="y")
    head = "source,target,time,y"
    signs = read_edge_list(write("a.csv", head, "1,2,0,1", "1,3,0,-1", "2,3,0,"), columns)
    assert signs.label.tolist() == [1, 0, -1] and signs.class_names == ("-1", "1")
    many = read_edge_list(write("b.csv", head, "1,2,0,10", "1,3,0,9", "2,3,0,9.0"), columns)
    assert many.label.tolist() == [1, 0, 0] and many.class_names == ("9", "10")
    path = write("c.csv", head, "1,2,0,", "1,3,0,")
    assert read_edge_list(path, columns).label.tolist() == [-1, -1]


@pytest.mark.parametrize("role", ["attributes", "weight"])
def test_what_makes_the_label_is_refused_as_an_input(write, role):
    path = write("a.csv", "source,target,time,y", "1,2,0,1")
    chosen = {"attributes": ["y"]} if role == "attributes" else {"weight": "y"}
    with pytest.raises(UserError, match="'y' makes the label, so it must be no attribute"):
        read_graph(DataConfig(path=str(path), columns=ColumnsConfig(label="y", **chosen)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (ColumnsConfig(source="frm"), r"no column 'frm' among note, from, to.*did you mean 'from'"),
        (ColumnsConfig(source="from", target="to"), "no column 'time' among note, from, to, when"),
    ],
)
def test_a_missing_column_names_the_nearest(tmp_path, columns, message):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(UserError, match=message):
            read_graph(DataConfig(path=str(tmp_path / name), kind="edges", columns=columns))


WEIGHTED = ColumnsConfig(weight="w", attributes=["a"])
HEAD = "source,target,time,w,a"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2,0,1,1", "", "1,2,0,-1,1"], "line 4: w -1 must not be negative"),
        (["1,2,0,1,1", "1,2,0,NaN,1"], "line 3: no w; correct or remove"),
        (["1,2,0,1,1", "1,2,0,inf,1"], "line 3: w inf is not a finite number"),
        (["1,2,0,1,1", "1,2,0,many,1"], "line 3: w 'many' is not a number"),
        (["1,2,0,1,1", "1,2,0,1,"], "line 3: no a; correct"),
        (["1,2,0,1,1", ",2,0,1,1"], "line 3: no source; correct"),
        (["1,2,0,1,1", "1,2,,1,1"], "line 3: no time; correct"),
        (["1,2,0,1,1", "1,2,later,1,1"], "line 3: time 'later' is not a number"),
        (["1,2,2014-01-01,1,1", "1,2,later,1,1"], "line 3: time 'later' is no date"),
        (["1,2,2014-01-01,1,1", "1,2,,1,1"], "line 3: time '' is no date"),
        (["1,2,0,1,1", "1,2,0,1"], r"line 3 has 4 column\(s\), not the 5 of the header"),
        (["1,2,0,1,1", "1,2,0,1,1,1"], r"line 3 has 6 column\(s\), not the 5 of the header"),
        (['"1,2",2,0,1,1', '"a\nb",2,0,1,-', "1,2,0,1,1"], "line 4: a '-' is not a number"),
        (["1,2,0,1,1", b"\xe9,2,0,1,1"], "line 3 is not UTF-8"),
        ([], "holds no edge"),
    ],
)
def test_a_bad_row_is_told_with_its_line(write, rows, message):
    path = write("a.csv", HEAD, *rows)
    with pytest.raises(UserError, match=message) as caught:
        read_graph(DataConfig(path=str(path), columns=WEIGHTED))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amount": [1.0, -2.0, 1, 1, 1]}, "row 2: amount -2 must not be negative"),
        ({"amount": [1.0, None, 1, 1, 1]}, "row 2: no amount"),
        ({"to": ["a", "b", None, "c", "d"]}, "row 3: no to"),
        ({"to": ["a", "b", "", "c", "d"]}, "row 3: no to"),
        ({"a": list("abcde")}, "column 'a' must hold numbers"),
        ({"when": [0.0, np.nan, 1, 1, 1]}, "row 2: no when"),
        ({"when": ["2014-01-01", "x", "y", "z", "q"]}, "row 2: time 'x' is no date"),
        ({"from": [[1]] * 5}, "ids must be numbers or text"),
    ],
)
def test_a_bad_row_of_parquet_is_told(tmp_path, change, message):
    FRAME.assign(**change).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(tmp_path / "a.parquet"), columns=FULL))


def test_damaged_and_empty_files_are_told(tmp_path, write):
    FRAME.to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_graph(DataConfig(path=str(tmp_path / "a.parquet"), columns=FULL))
    FRAME[:0].to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="holds no edge"):
        read_graph(DataConfig(path=str(tmp_path / "b.parquet"), columns=FULL))
    with pytest.raises(UserError, match="is empty"):
        read_graph(DataConfig(path=str(write("c.csv")), kind="edges"))
    packed = gzip.compress(("\n".join(["source,target,time"] + ["1,2,3"] * 9_000)).encode())
    (tmp_path / "d.csv.gz").write_bytes(packed[: len(packed) - 12])
    with pytest.raises(UserError, match="cut short or damaged"):
        read_graph(DataConfig(path=str(tmp_path / "d.csv.gz"), kind="edges"))
    path = write("e.csv", "source,target,time,time", "1,2,3,4")
    with pytest.raises(UserError, match="has the column 'time' twice"):
        read_graph(DataConfig(path=str(path), kind="edges"))


def test_milliseconds_are_suspected(write):
    path = write("a.csv", "source,target,time", "1,2,1388534398000", "1,2,1390000000000000")
    with pytest.raises(UserError, match="a time that is wrong or in milliseconds"):
        read_graph(DataConfig(path=str(path), kind="edges"))
