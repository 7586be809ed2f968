import subprocess
import sys
import time
from pathlib import Path

import pytest

from foretell.errors import UserError
from foretell.study import CommandWork, Row, Study, read_rows, run_command


def square(x: float = 3.0) -> dict[str, float]:
    return {"val/square/y": x * x}


def fail() -> dict[str, float]:
    raise ValueError("no luck")


COLUMNS = ["name", "x", "val/square/y"]


@pytest.fixture
def inline(monkeypatch):
    """Rows in this process: what is tested is the bookkeeping."""

    def outcomes(self, rows):
        for row in rows:
            yield row, row.work

    monkeypatch.setattr(Study, "_outcomes", outcomes)


def study(path, **options):
    return Study(path, ("val/square/y",), **options)


def test_rows_are_appended_and_finished_ones_skipped(tmp_path, inline):
    path = tmp_path / "study.csv"
    study(path).run([Row("a", {"x": 0.1}, square)])
    table = study(path).run([Row("a", {"x": 0.1}, fail), Row("b", {"x": None}, square)])
    assert table == [
        {"name": "a", "x": "0.1", "val/square/y": "9.0"},
        {"name": "b", "x": "", "val/square/y": "9.0"},
    ]


def test_failed_rows_do_not_stop_the_others(tmp_path, inline):
    path = tmp_path / "study.csv"
    rows = [Row("a", {"x": 1}, fail), Row("b", {"x": 2}, square)]
    with pytest.raises(UserError, match="1 of 2 rows failed .a.*runs them again"):
        study(path).run(rows)
    assert [row["name"] for row in read_rows(path, COLUMNS)] == ["b"]


def test_smoke_runs_one_row(tmp_path, inline):
    rows = [Row("a", {"x": 1}, square), Row("b", {"x": 2}, square)]
    assert len(study(tmp_path / "study.csv").run(rows, smoke=True)) == 1


def test_a_torn_last_line_is_run_again(tmp_path, inline):
    path = tmp_path / "study.csv"
    study(path).run([Row("a", {"x": 1}, square)])
    with path.open("a") as file:
        file.write("b,2,9")
    assert [row["name"] for row in read_rows(path, COLUMNS)] == ["a"]
    table = study(path).run([Row("a", {"x": 1}, square), Row("b", {"x": 2}, square)])
    assert [row["name"] for row in table] == ["a", "b"]


def test_other_parameters_columns_and_double_names_are_refused(tmp_path, inline):
    path = tmp_path / "study.csv"
    study(path).run([Row("a", {"x": 1}, square)])
    with pytest.raises(UserError, match="row a was made with x = 1, now it is 2"):
        study(path).run([Row("a", {"x": 2}, square)])
    with pytest.raises(UserError, match="has columns"):
        study(path).run([Row("a", {"z": 2}, square)])
    with pytest.raises(ValueError, match="different names"):
        study(path).run([Row("a", {"x": 1}, square), Row("a", {"x": 1}, square)])


def test_missing_number_fails_the_row(tmp_path, inline):
    with pytest.raises(UserError, match="1 of 1 rows failed"):
        Study(tmp_path / "s.csv", ("val/other/y",)).run([Row("a", {"x": 1}, square)])


def test_commands_run_in_processes_and_leave_a_log(tmp_path):
    row = Row("a", {"x": 1}, CommandWork(("no_such_head",), str(tmp_path / "a")))
    with pytest.raises(UserError, match="1 of 1 rows failed"):
        study(tmp_path / "study.csv", jobs=2).run([row])
    with pytest.raises(RuntimeError, match=r"exit code 2, see .*log.txt: unknown command 'no_su"):
        run_command(row.work, 1)
    assert "unknown command 'no_such_head'" in (tmp_path / "a" / "log.txt").read_text()


KILLED = """
import sys
from pathlib import Path
from foretell.study import CommandWork, Row, Study
if __name__ == "__main__":
    out = Path(sys.argv[1])
    rows = [Row(n, {"x": 1}, CommandWork((n,), str(out / n))) for n in ("a", "b")]
    Study(out / "s.csv", ("val/y/z",)).run(rows)
"""
SLEEPER = """
import os, sys, time
open(f"{sys.argv[1]}.pid", "w").write(str(os.getpid()))
time.sleep(60)
"""


def test_a_killed_study_takes_its_rows_along(tmp_path):
    (tmp_path / "script.py").write_text(KILLED)
    stand_in = tmp_path / "here" / "foretell"  # what `python -m foretell` finds there
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(SLEEPER)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "out"]
    study = subprocess.Popen(command, cwd=stand_in.parent)
    pid_file = stand_in.parent / "a.pid"
    wait_until(lambda: pid_file.is_file() and pid_file.read_text())
    study.kill()
    study.wait()
    wait_until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists())
    time.sleep(1)
    assert not (stand_in.parent / "b.pid").exists()


FUNCTION = """
import os, sys, time
from functools import partial
from pathlib import Path
from foretell.study import Row, Study
def sleep(out):
    (out / "pid").write_text(str(os.getpid()))
    time.sleep(60)
if __name__ == "__main__":
    out = Path(sys.argv[1])
    Study(out / "s.csv", ("val/y/z",)).run([Row("a", {"x": 1}, partial(sleep, out))])
"""


def test_a_killed_study_leaves_no_worker_behind(tmp_path):
    (tmp_path / "script.py").write_text(FUNCTION)
    study = subprocess.Popen([sys.executable, tmp_path / "script.py", tmp_path])
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.is_file() and pid_file.read_text())
    study.kill()
    study.wait()
    wait_until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists())


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
