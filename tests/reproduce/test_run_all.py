"""The command of the reproductions."""

import csv

import pytest
import run_all


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
