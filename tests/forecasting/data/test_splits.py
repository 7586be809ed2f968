"""Rows and windows of the published splits."""

from pathlib import Path

import pytest

from forecasting.data.known_files import ETT_COLUMNS, refuse_same_rows
from forecasting.data.splits import ett_split, few_shot, share_split, usual_split, window_starts
from forecasting.data_config import DataConfig
from forecasting.series_data import read_series
from foretell.errors import UserError

COUNTS = {
    "ETTh1.csv": (2785, 2689, 2545, 2161),
    "ETTm1.csv": (11425, 11329, 11185, 10801),
    "exchange_rate.txt.gz": (1422, 1326, 1182, 798),
    "weather.txt.gz": (10444, 10348, 10204, 9820),
}


@pytest.mark.parametrize("file", COUNTS)
def test_published_test_windows(test_data: Path, file: str) -> None:
    data = read_series(DataConfig(path=str(test_data / "timeseries" / file)), 512)
    assert data.table.name == file.split(".")[0]
    found = tuple(len(data.windows("test", 512, horizon)) for horizon in (96, 192, 336, 720))
    assert found == COUNTS[file]


def test_rows() -> None:
    hourly = ett_split(17_420, rows_per_hour=1)
    assert (hourly.train, hourly.val, hourly.test) == (
        range(8640), range(8640, 11_520), range(11_520, 14_400)
    )  # fmt: skip
    shares = share_split(7588)
    assert [len(part) for part in (shares.train, shares.val, shares.test)] == [5311, 760, 1517]
    assert usual_split("auto", 17_420, ETT_COLUMNS, 3600.0) == hourly
    assert usual_split("auto", 60_000, ETT_COLUMNS, 900.0) == ett_split(60_000, rows_per_hour=4)
    assert usual_split("auto", 7588, ("a",), 3600.0) == shares
    with pytest.raises(UserError, match="needs 14,400 rows, the file has 100"):
        ett_split(100, rows_per_hour=1)


def test_windows_of_a_part() -> None:
    """n - L - H + 1 where nothing may be seen before the part, else n - H + 1."""
    assert len(window_starts(range(20), 5, 3)) == 20 - 5 - 3 + 1
    assert window_starts(range(20), 5, 3)[0] == 5
    later = window_starts(range(20, 30), 5, 3)
    assert (len(later), later[0], later[-1] + 3) == (8, 20, 30)
    assert not len(window_starts(range(20, 22), 5, 3))


def test_few_shot_counts() -> None:
    """Five percent of ETTh1 are 918 rows: 311, 215 and 71 windows, none at 720."""
    kept = few_shot(ett_split(17_420, rows_per_hour=1), 5.0, 512)
    assert kept.train == range(918)
    found = [len(window_starts(kept.train, 512, horizon)) for horizon in (96, 192, 336, 720)]
    assert found == [311, 215, 71, 0]
    with pytest.raises(ValueError, match="percent"):
        few_shot(kept, 0.0, 512)


def test_etth1_and_ettm1_do_not_mix() -> None:
    refuse_same_rows(["ETTh1"], "ETTh1")
    refuse_same_rows(["weather", "ETTh1"], "ETTm2")
    with pytest.raises(UserError, match="trained on one cannot be tested on the other"):
        refuse_same_rows(["ETTm1"], "ETTh1")
