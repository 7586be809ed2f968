"""Studies of graphs: they run valid configurations and print what was measured."""

import csv
from pathlib import Path

import graph_best
import graph_small
import graph_tuning
import pytest

from foretell.command import parse
from foretell.study import CommandWork
from graphs.config import TrainConfig

DATA = Path("data")


def config_of(command: tuple[str, ...]):
    head, verb, *words = command
    assert (head, verb) == ("graphs", "train")
    return parse("graphs", "train", TrainConfig, words)[0]


def work_of(row) -> CommandWork:
    return row.work.args[0]


@pytest.mark.parametrize("name", graph_tuning.TRIALS)
def test_trials_are_configurations_that_score_validation_alone(name):
    row = graph_tuning.row(name, graph_tuning.TRIALS[name], DATA)
    config = config_of(work_of(row).command)
    assert config.eval.parts == ["val"]
    assert config.structure.enabled and config.structure.embedding


@pytest.mark.parametrize("part", graph_best.PARTS)
def test_best_rows_have_the_settings_of_a_trial(part):
    best = config_of(work_of(graph_best.row(part, 0, DATA, alone=False, smoke=False)).command)
    trials = [
        config_of(work_of(graph_tuning.row(name, flags, DATA)).command)
        for name, flags in graph_tuning.TRIALS.items()
        if name.startswith(part)
    ]
    same = [
        trial
        for trial in trials
        if all(
            getattr(trial, name) == getattr(best, name)
            for name in ("features", "model", "head", "structure", "negatives", "optim", "stop")
        )
        and trial.trainer.max_epochs == best.trainer.max_epochs
    ]
    assert len(same) == 1
    assert best.eval.parts == ["val", "test"]


def test_pages_hold_means_and_paired_differences(tmp_path):
    path = tmp_path / "graph_best.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["configuration", "seed", *graph_best.METRICS])
        writer.writeheader()
        for seed, (model, alone) in enumerate([(0.5, 0.1), (0.7, 0.2)]):
            figures = {"model_first": model, "alone_first": alone, "untrained_first": 0.3}
            figures |= {"model_second": 1.0, "alone_second": 1.0, "untrained_second": 0.3}
            if seed:
                figures |= {"untrained_first": "", "untrained_second": ""}
            writer.writerow({"configuration": "uci_link", "seed": seed, "commit": "abc"} | figures)
    line = next(line for line in graph_best.page(path).splitlines() if "| map |" in line)
    assert "0.6000 ± 0.1414" in line and "0.1500 ± 0.0707" in line
    assert "+0.4500 ± 0.0707" in line and "| 0.3000 |" in line


@pytest.mark.parametrize("name", graph_small.CONFIGURATIONS)
def test_small_studies_are_configurations(name):
    command = work_of(graph_small.row(name, 0, DATA, smoke=True)).command
    metric = graph_small.CONFIGURATIONS[name][1]
    assert config_of(command).task == {"mse": "regression", "map": "link"}[metric]
