"""Wide files: headers, stamps, gzip, and every way in which they can be broken."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from forecasting.data.wide_files import read_wide
from foretell.errors import UserError

HEADED = "date,a,b\n2020-01-01 00:00,1,2\n2020-01-01 01:00,3,4\n2020-01-01 02:00,5,6\n"


def _write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_header_and_stamps(tmp_path: Path) -> None:
    table = read_wide(_write(tmp_path / "mine.csv", HEADED))
    assert (table.name, table.channels) == ("mine", ("a", "b"))
    assert table.values.tolist() == [[1, 2], [3, 4], [5, 6]] and not table.stamps_made_up
    assert table.stamps[1] == np.datetime64("2020-01-01T01:00")


def test_bare_numbers_get_made_up_stamps(tmp_path: Path) -> None:
    table = read_wide(_write(tmp_path / "rates.txt.gz", "1,2\n3,4\n"))
    assert table.channels == ("series_0", "series_1") and table.stamps_made_up
    assert table.values.tolist() == [[1, 2], [3, 4]]


def test_header_without_stamps(tmp_path: Path) -> None:
    table = read_wide(_write(tmp_path / "mine.csv", "a,b\n1,2\n3,4\n"))
    assert table.channels == ("a", "b") and table.stamps_made_up


def test_months_are_evenly_spaced(tmp_path: Path) -> None:
    text = "ds,y\n" + "".join(f"2020-{month:02d}-01,{month}\n" for month in range(1, 9))
    assert len(read_wide(_write(tmp_path / "months.csv", text))) == 8


def test_published_files_are_known(test_data: Path) -> None:
    table = read_wide(test_data / "timeseries" / "ETTh1.csv")
    assert (table.name, len(table), len(table.channels)) == ("ETTh1", 17_420, 7)
    weather = read_wide(test_data / "timeseries" / "weather.txt.gz")
    assert weather.values.shape == (52_696, 21) and weather.stamps_made_up


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("date,a\n", "has no row"),
        ("date\n2020-01-01\n", "stamps alone"),
        (HEADED.replace("3,4", "3,x"), "column 'b' holds 'x' in row 1, not a number"),
        (HEADED.replace("3,4", "3,"), "column 'b' has no finite number in row 1 (1 such"),
        (HEADED.replace("3,4", "inf,4"), "column 'a' has no finite number in row 1"),
        (HEADED.replace("2020-01-01 01:00", "2020-01-01 00:00"), "00:00:00 stands twice"),
        (HEADED.replace("2020-01-01 01:00", "2019-01-01 01:00"), "sort the rows by time"),
        (HEADED + "2020-01-01 04:00,7,8\n2020-01-01 05:00,7,8\n", "usual step is 0 days 01:00:00"),
        (HEADED.replace("2020-01-01 01:00", "soon"), "does not hold times"),
        (HEADED.replace("2020-01-01 01:00", ""), "no stamp in row 1"),
    ],
)  # fmt: skip
def test_broken_files_are_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        read_wide(_write(tmp_path / "mine.csv", text))
    assert told in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file .*none.csv"):
        read_wide(tmp_path / "none.csv")
