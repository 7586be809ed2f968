"""The command of the reproductions."""

import csv

import pytest
import run_all

from foretell.errors import UserError


def test_a_task_runs_through_the_command_and_is_not_run_again(tmp_path, monkeypatch):
    words = ["--smoke", "--task", "mamba2_length", "--out", str(tmp_path)]
    run_all.main(words)
    table = tmp_path / "blocks_mamba2_length.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [
        f"{remedy}/seed_0" for remedy in ("plain", "decay", "norm", "window")
    ]
    assert all(0 <= float(row["accuracy_16"]) <= 1 for row in rows)
    monkeypatch.setattr(run_all, "row_with_commit", pytest.fail)
    before = table.read_text()
    run_all.main(words)
    assert table.read_text() == before
    text = (tmp_path / "blocks.md").read_text()
    assert "Mamba-2 falls from T to 8T: **not run**" in text  # one seed is no spread
    assert "| plain | 2" in text and text.count("## ") == len(run_all.NAMES)


def test_smoke_rows_stay_out_of_the_results(capsys):
    with pytest.raises(SystemExit):
        run_all.main(["--smoke", "--out", str(run_all.RESULTS)])
    assert "--smoke does not write" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", run_all.NAMES)
def test_every_task_runs_through_the_command(name, tmp_path):
    run_all.main(["--smoke", "--task", name, "--out", str(tmp_path)])
    with (tmp_path / f"blocks_{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    experiment = run_all.load(name)
    assert [row["variant"] for row in rows] == list(experiment.variants)
    assert all(0 <= float(row[column]) <= 1 for row in rows for column in experiment.columns)


def test_a_failed_task_keeps_the_others_and_is_told(tmp_path, monkeypatch):
    def rows(experiment, *, smoke):
        if experiment.name == "aaren_parity":
            raise UserError("4 of 4 rows failed")
        return original(experiment, smoke=smoke)[:1]

    original = run_all.rows
    monkeypatch.setattr(run_all, "rows", rows)
    words = ["--smoke", "--out", str(tmp_path)]
    for name in ("aaren_parity", "mamba2_length"):
        words += ["--task", name]
    with pytest.raises(UserError, match="^4 of 4 rows failed$"):
        run_all.main(words)
    assert (tmp_path / "blocks_mamba2_length.csv").exists()
    assert (tmp_path / "blocks.md").exists()
