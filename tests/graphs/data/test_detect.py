"""Formats are told apart by names and first lines; what is not is named."""

import gzip
import logging

import pandas as pd
import pytest

from foretell.errors import UserError
from graphs.data.detect import detect_kind
from graphs.data.readers import read_graph
from graphs.data_config import ColumnsConfig, DataConfig

SBM = ["source,target,weight,time", "0,1,1,0", "1,2,1,1"]


@pytest.mark.parametrize(
    ("name", "lines", "kind"),
    [
        ("soc-sign-bitcoinotc.csv", ["6,2,4,1289241911.72836"], "bitcoin"),
        ("renamed.csv", ["6,2,-10,1289241911"], "bitcoin"),
        ("out.x", ["% asym", "1 2 1 3"], "konect"),
        ("renamed.txt", ["% asym", "1 2 1 3"], "konect"),
        ("links.tsv", ["SOURCE_SUBREDDIT\tTARGET_SUBREDDIT\tP\tT\tL\tX", ""], "reddit"),
        ("graph.json", ["{}"], "json"),
        ("sbm.csv", SBM, "sbm"),
        ("own.csv", [SBM[0], "0,1,1,1388534398"], "edges"),
        ("own.csv", [SBM[0], "0,1,1,2014-01-01"], "edges"),
        ("own.csv", ["source;target;time", "a;b;1"], "edges"),
        ("own.csv", ["who,whom,at", "a,b,1"], "edges"),
    ],
)
def test_kinds_of_files_plain_and_compressed(write, tmp_path, name, lines, kind):
    path = write(name, *lines)
    assert detect_kind(DataConfig(path=str(path)))[0] == kind
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert detect_kind(DataConfig(path=str(packed)))[0] == kind


def test_named_columns_or_seconds_make_a_table_the_users_own(write):
    path = str(write("a.csv", *SBM))
    columns = ColumnsConfig(weight="weight")
    assert detect_kind(DataConfig(path=path, columns=columns))[0] == "edges"
    assert detect_kind(DataConfig(path=path, step_s=1.0))[0] == "edges"


def test_parquet_by_its_first_bytes(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "nameless")
    assert detect_kind(DataConfig(path=str(tmp_path / "nameless")))[0] == "edges"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("as/as19971108.txt", "as733"),
        ("as/as19971108.txt.gz", "as733"),
        ("e/elliptic_txs_features.csv", "elliptic"),
        ("r/soc-redditHyperlinks-body.tsv", "reddit"),
    ],
)
def test_kinds_of_folders(write, file, kind):
    path = write(file, "x")
    assert detect_kind(DataConfig(path=str(path.parent)))[0] == kind


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("empty.csv", [], "is empty"),
        ("as-733.tar", ["x"], "unpack the archive"),
        ("five.csv", ["1,2,3,4,5"], "cannot tell the format from '1,2,3,4,5'; set data.kind"),
        ("signed.csv", ["1,2,50,3"], "cannot tell the format"),
        ("bytes.csv", [b"\xff\xfe"], "not UTF-8"),
    ],
)
def test_what_cannot_be_told_apart_is_told(write, name, lines, message):
    path = write(name, *lines)
    with pytest.raises(UserError, match=message):
        detect_kind(DataConfig(path=str(path)))


def test_missing_paths_and_unknown_folders(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        detect_kind(DataConfig(path=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"a folder needs .*as19971108.txt"):
        detect_kind(DataConfig(path=str(tmp_path)))


def test_what_was_detected_is_told(write, caplog):
    with caplog.at_level(logging.INFO, logger="graphs"):
        read_graph(DataConfig(path=str(write("own.csv", "source,target,time", "a,b,1"))))
    assert "own.csv is read as edges (its header source,target,time)" in caplog.text.replace(
        ", ", ","
    )
    assert "2 nodes, 1 edges, 1 snapshots of 86,400 s" in caplog.text
