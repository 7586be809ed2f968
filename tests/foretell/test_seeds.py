import pytest

from foretell.config import RunOptions
from foretell.run import RunDirectory, check_metrics
from foretell.seeds import run_seeds, summarise


def verb(config, options):
    run = RunDirectory.create("toy", config, options)
    run.write_metrics({"forecast/toy/l1_m": float(options.seed)})


def test_each_seed_has_a_folder_and_the_summary_lies_above(tmp_path):
    options = RunOptions(out=str(tmp_path), seed=3, seeds=3)
    run_seeds(verb, RunOptions(), options)
    assert sorted(p.name for p in tmp_path.glob("seed_*")) == ["seed_3", "seed_4", "seed_5"]
    want = {"forecast/toy/l1_m": 4.0, "forecast/toy/l1_m_std": 1.0}
    assert RunDirectory(tmp_path).read_metrics() == want


def test_one_seed_writes_into_the_folder_itself(tmp_path):
    run_seeds(verb, RunOptions(), RunOptions(out=str(tmp_path), seed=2))
    assert RunDirectory(tmp_path).read_metrics() == {"forecast/toy/l1_m": 2.0}


def test_a_verb_without_numbers_has_no_summary(tmp_path):
    run_seeds(lambda config, one: None, RunOptions(), RunOptions(out=str(tmp_path), seeds=2))
    assert not (tmp_path / "metrics.json").exists()


def test_runs_without_a_number_have_an_empty_summary(tmp_path):
    def silent(config, options):
        RunDirectory.create("toy", config, options).write_metrics({})

    run_seeds(silent, RunOptions(), RunOptions(out=str(tmp_path), seeds=2))
    assert (tmp_path / "metrics.json").read_text() == "{}\n"


def test_summary_of_test_numbers_keeps_the_grammar():
    runs = [
        {"test/a/mrr/mean": value, "test/a/mrr/std": None, "test/a/mrr/n": 1, f"val/{value}/x": 1.0}
        for value in (0.25, 0.75)
    ]
    summary = summarise(runs)
    check_metrics(summary)
    assert summary["test/a/mrr/mean"] == 0.5 and summary["test/a/mrr/n"] == 2
    assert summary["test/a/mrr/std"] == pytest.approx(0.3535534)
    assert summary.keys() == {f"test/a/mrr/{end}" for end in ("mean", "std", "n")}


def test_a_number_missing_in_one_run_is_missing_in_the_summary():
    summary = summarise([{"val/a/x": None}, {"val/a/x": 1.0}])
    assert summary == {"val/a/x": None, "val/a/x_std": None}
