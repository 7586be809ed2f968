"""Columns of text files; every damage names its line."""

import gzip

import numpy as np
import pytest

from foretell.errors import UserError
from graphs.data.text_table import read_text_table

COLUMNS = {"source": "integer", "target": "integer", "weight": "number"}


def test_kinds_separators_comments_and_headers(write):
    plain = write("a.csv", "# one", "head,er,!", "3,4,0.5", "", "5,6,1e3 # why", "7.0,8,2")
    table = read_text_table(plain, COLUMNS, header_lines=2, comment="#")
    assert table["source"].tolist() == [3, 5, 7] and table["source"].dtype == np.int64
    assert table["weight"].tolist() == [0.5, 1000.0, 2.0]
    spaced = write("b.txt", "% x", "1 2\t3", "  4   5 6  ")
    table = read_text_table(spaced, COLUMNS, separator="", comment="%")
    assert [table[name].tolist() for name in COLUMNS] == [[1, 4], [2, 5], [3.0, 6.0]]
    text = write("c.tsv", 'NA\t"x\t1', "ü\ty\t-2")
    table = read_text_table(text, {"a": "text", "b": "text", "c": "integer"}, separator="\t")
    assert table["a"].tolist() == ["NA", "ü"] and table["b"].tolist() == ['"x', "y"]
    assert len(table) == 2


def test_columns_that_are_not_wanted_may_hold_anything(write):
    path = write("a.csv", "1,x,2,,", "3,,4", "5,6,7,8,9,10")
    kinds = {"a": "integer", "skip": "text", "b": "integer"}
    table = read_text_table(path, kinds, only=("a", "b"))
    assert table["a"].tolist() == [1, 3, 5] and table["b"].tolist() == [2, 4, 7]


def test_compressed_files_and_marks_of_byte_order(write, tmp_path):
    raw = b"\xef\xbb\xbf1,2,3\r\n4,5,6\r\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(raw))
    table = read_text_table(tmp_path / "a.csv.gz", COLUMNS)
    assert table["source"].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,2,3", "4,x,6"], r"line 2: target 'x' is not a whole number; correct or remove"),
        (["1,2,3", "", "4,5.5,6"], r"line 3: target '5.5' is not a whole number"),
        (["1,2,3", "4,5,nan"], r"line 2: weight 'nan' is not a finite number"),
        (["1,2,3", "4,5,inf"], r"line 2: weight 'inf' is not a finite number"),
        (["1,2,3", "4,5,"], r"line 2: weight '' is not a finite number"),
        (["1,2,3", "4,5"], r"line 2 has 2 column\(s\), not 3 \(source, target, weight\)"),
        (["1,2,3", "4"], r"line 2 has 1 column\(s\), not 3"),
        (["1,2,3", "4,5,6,7"], r"line 2 has 4 column\(s\), not 3"),
        (["1,2,3,4", "4,5,6,7"], r"line 1 has 4 column\(s\), not 3"),
        (["1,2,3", f"{2**70},5,6"], "not a whole number"),
        (["1,2,3", b"4,\xff,6"], r"line 2 is not UTF-8 \(byte 0xff\); convert it"),
        (["1,2,3"] * 50_000 + ["1,2"], "line 50001 has 2 column"),
        ([], "holds no row of data"),
        (["", ""], "holds no row of data"),
    ],
)
def test_damage_is_told_with_its_line(write, lines, message):
    path = write("a.csv", *lines)
    with pytest.raises(UserError, match=message) as caught:
        read_text_table(path, COLUMNS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_lines_are_counted_through_headers_and_comments(write):
    path = write("a.csv", "head", "# comment", "1,2,3", "", "# again", "4,5,-6", "7,8,x")
    with pytest.raises(UserError, match="line 7: weight 'x'"):
        read_text_table(path, COLUMNS, header_lines=1, comment="#")
    path = write("b.csv", "head", "# comment", "1,2,3", "", "# again", "4,5,-6")
    table = read_text_table(path, COLUMNS, header_lines=1, comment="#")
    with pytest.raises(UserError, match="line 6: weight -6 must not be negative"):
        table.check_not_negative("weight")


def test_text_that_is_missing_is_told(write):
    path = write("a.csv", "x,1", ",2")
    with pytest.raises(UserError, match="line 2: no name"):
        read_text_table(path, {"name": "text", "n": "integer"})


def test_missing_and_truncated_files_are_told(write, tmp_path):
    with pytest.raises(UserError, match="cannot open .*nowhere.csv: No such file"):
        read_text_table(tmp_path / "nowhere.csv", COLUMNS)
    rng = np.random.default_rng(0)
    whole = gzip.compress(b"".join(b"%d,2,3\n" % n for n in rng.integers(0, 10**9, 5000)))
    for size in (len(whole) // 2, len(whole) - 4, 30):
        (tmp_path / "cut.csv.gz").write_bytes(whole[:size])
        with pytest.raises(UserError, match="cut.csv.gz is cut short or damaged"):
            read_text_table(tmp_path / "cut.csv.gz", COLUMNS)
    (tmp_path / "no.csv.gz").write_bytes(b"1,2,3\n")
    with pytest.raises(UserError, match="no.csv.gz is cut short or damaged"):
        read_text_table(tmp_path / "no.csv.gz", COLUMNS)
