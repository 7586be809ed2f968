"""M4 files: padded lines, the test beside the training, and what can be wrong."""

from pathlib import Path

import pytest

from forecasting.data.m4 import read_m4
from foretell.errors import UserError

FUTURE = ",".join(str(value) for value in range(6))


def _files(folder: Path, train: str, test: str) -> Path:
    (folder / "Yearly-test.csv").write_text(f"id,{','.join('abcdef')}\n{test}")
    path = folder / "Yearly-train.csv"
    path.write_text(f'"V1","V2","V3","V4"\n{train}')
    return path


def test_lines_of_their_own_length(tmp_path: Path) -> None:
    path = _files(tmp_path, "Y1,1,2,3\nY2,4,5,\n", f"Y1,{FUTURE}\nY2,{FUTURE}\n")
    series = read_m4(path)
    assert (series.frequency, series.season, series.horizon) == ("yearly", 1, 6)
    assert series.ids == ("Y1", "Y2")
    assert [row.tolist() for row in series.train] == [[1, 2, 3], [4, 5]]
    assert series.test[1].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        ("Y1,1,2,3\n", f"Y2,{FUTURE}\n", "does not hold the series of .* first at Y1"),
        ("Y1,1,2,3\nY2,1,2,3\n", f"Y1,{FUTURE}\n", "1 instead of 2"),
        ("Y1,1,,3\n", f"Y1,{FUTURE}\n", "Y1 has an empty cell before its last value"),
        ("Y1,,,\n", f"Y1,{FUTURE}\n", "Y1 has an empty cell"),
        ("Y1,1,x,3\n", f"Y1,{FUTURE}\n", "no number"),
        ("Y1,1,2,3\n", "Y1,1,2,3,,,\n", "has 3 values, not 6"),
        ("Y1,1,2,3\nY1,1,2,3\n", f"Y1,{FUTURE}\n", "Y1 twice"),
        ("", f"Y1,{FUTURE}\n", "has no series"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path: Path, train: str, test: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_m4(_files(tmp_path, train, test))


def test_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must hold one of hourly, daily"):
        read_m4(tmp_path / "Minutely-train.csv")
    with pytest.raises(UserError, match="no file"):
        read_m4(tmp_path / "Hourly-train.csv")
    with pytest.raises(UserError, match="not named as the competition"):
        read_m4(tmp_path / "hourly.csv")
