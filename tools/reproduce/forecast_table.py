"""Forecasters side by side on the benchmark files: contexts, horizons and seeds in one table.

    python tools/reproduce/forecast_table.py --data FOLDER [--only DATA ...] [--models MODEL ...]
                                             [--jobs N] [--tune] [--table] [--smoke]

FOLDER holds ETTh1.csv, ETTm1.csv, exchange_rate.txt.gz and weather.txt.gz. A row is what `foretell
forecast benchmark` makes of a model, context, horizon and seed, scored once on the test; rows go to
docs/results/forecast_table.csv, a finished one is never run again, a killed one goes on from its
checkpoint. `--tune` runs the trials of TRIED instead, scored on validation alone
(forecast_tuning.csv); a model is trained as in its trial of least validation error, CHOSEN.
"""

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from forecast_table_page import page  # noqa: E402
from graph_links import REPOSITORY, commit  # noqa: E402

from forecasting.benchmark import METRICS, Run, benchmark_row, run_row  # noqa: E402
from forecasting.config import (  # noqa: E402
    UNTRAINED,
    BenchmarkConfig,
    FitConfig,
    FitsConfig,
    Name,
    NetworksConfig,
)
from forecasting.data_config import DataConfig  # noqa: E402
from forecasting.model_config import DLinearConfig  # noqa: E402
from forecasting.series_data import SeriesData, read_series  # noqa: E402
from foretell.config import RunOptions, TrainerConfig  # noqa: E402
from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, Row, Study  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "forecast_table.csv"
TUNING = RESULTS.with_name("forecast_tuning.csv")
RUNS = REPOSITORY / "runs" / "forecast_table"
FILES = {
    "ETTh1": "ETTh1.csv", "ETTm1": "ETTm1.csv", "exchange_rate": "exchange_rate.txt.gz",
    "weather": "weather.txt.gz",
}  # fmt: skip
CONTEXTS = (96, 336, 512)
HORIZONS = (96, 192, 336, 720)
SEEDS = 3
EVERYWHERE: tuple[Name, ...] = (
    "last", "seasonal_naive", "drift", "ridge", "ridge_tuned", "nlinear", "dlinear",
)  # fmt: skip
NETWORKS: tuple[Name, ...] = ("patchtst", "lstm", "lssl", "mamba2", "aaren", "titans")
NETWORK_CELLS = {"ETTh1": HORIZONS, "ETTm1": (96,)}
"""Where networks run, at context 336."""
WINDOWS = 2048
"""Training windows of an epoch of the networks, drawn anew each time."""
WEATHER_WINDOWS = 8192
"""Of nlinear and dlinear on weather."""


class Trial(NamedTuple):
    """How a model is trained, and how DLinear starts."""

    fit: FitConfig
    init: Literal["uniform", "mean"] = "uniform"


TRIED: Mapping[str, tuple[Trial, ...]] = {
    "nlinear": (
        Trial(FitConfig(lr=5e-4, batch=32, decay=0.9)),
        Trial(FitConfig(lr=5e-3, batch=32, decay=0.5)),
        Trial(FitConfig(lr=5e-3, batch=256, decay=0.8)),
        Trial(FitConfig(lr=1e-3, batch=256, decay=0.8)),
    ),
    "dlinear": (
        Trial(FitConfig(lr=5e-3, batch=256, decay=0.8)),
        Trial(FitConfig(lr=5e-3, batch=32, decay=0.5)),
        Trial(FitConfig(lr=5e-3, batch=32, decay=0.5), "mean"),
        Trial(FitConfig(lr=1e-3, batch=256, decay=0.8), "mean"),
    ),
    **dict.fromkeys(
        NETWORKS,
        tuple(
            Trial(FitConfig(lr=rate, max_epochs=15, windows_per_epoch=WINDOWS, decay=0.9))
            for rate in (1e-3, 3e-3, 3e-4)
        ),
    ),
}
"""At context 336, seed 0: nlinear and dlinear on each file with horizons 96 and 336, networks on
ETTh1 with 96."""
CHOSEN: Mapping[tuple[str, str], int] = {
    ("ETTh1", "lstm"): 2,
    ("ETTh1", "titans"): 2,
    ("ETTh1", "nlinear"): 1,
    ("ETTh1", "dlinear"): 3,
    ("ETTm1", "nlinear"): 1,
    ("ETTm1", "dlinear"): 1,
    ("exchange_rate", "dlinear"): 1,
    ("weather", "dlinear"): 2,
    ("weather", "nlinear"): 1,
}
"""Data and model -> the trial of least validation error, mean over horizons, if not the first."""
RELEASED: Mapping[str, FitConfig] = {
    "ETTh1": FitConfig(lr=5e-3, batch=32, decay=0.5, max_epochs=10),
    "ETTm1": FitConfig(lr=1e-4, batch=8, decay=0.5, max_epochs=10),
    "weather": FitConfig(lr=1e-4, batch=16, decay=0.5, max_epochs=10),
}
"""DLinear as the released scripts train it (cure-lab/LTSF-Linear, scripts/EXP-LongForecasting), at
context 336: rows `dlinear_released`."""
COLUMNS = (*METRICS, "commit")


@dataclass(frozen=True)
class Work:
    """One row, to be run in another process."""

    run: Run

    def __call__(self) -> Mapping[str, Cell]:
        """The numbers of the row."""
        return {**run_row(self.run), "commit": commit()}


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the four files")
    parser.add_argument("--only", nargs="+", default=list(FILES), choices=FILES, metavar="DATA")
    parser.add_argument(
        "--models", nargs="+", default=[*EVERYWHERE, *NETWORKS], choices=[*EVERYWHERE, *NETWORKS]
    )
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--tune", action="store_true", help="run the trials, on validation")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    parser.add_argument("--smoke", action="store_true", help="one short row, written to runs/")
    options = parser.parse_args()
    folder = options.data.resolve()
    if options.tune:
        rows = [
            cell(folder, name, 336, horizon, model, 0, trial=trial)
            for name in options.only
            for model in options.models
            if model in TRIED and (name == "ETTh1" or model not in NETWORKS)
            for horizon in ((96,) if model in NETWORKS else (96, 336))
            for trial in range(len(TRIED[model]))
        ]
        Study(TUNING, COLUMNS, jobs=options.jobs).run(rows)
        return
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    if not options.table:
        rows = list(cells(folder, options.only, options.models))
        Study(path, COLUMNS, jobs=options.jobs).run(rows, smoke=options.smoke)
    atomic_write(path.with_suffix(".md"), page(path, TUNING))


def cells(folder: Path, names: Sequence[str], models: Sequence[Name]) -> Iterator[Row]:
    """Every row of the table, seed by seed."""
    for seed in range(SEEDS):
        for name in names:
            for model in models:
                if seed and model in UNTRAINED:
                    continue
                for context, horizon in places(name, model):
                    yield cell(folder, name, context, horizon, model, seed)
                    if model == "dlinear" and context == 336 and name in RELEASED:
                        yield cell(folder, name, context, horizon, model, seed, released=True)


def places(name: str, model: Name) -> list[tuple[int, int]]:
    """Contexts and horizons at which a model runs on a file."""
    if model in NETWORKS:
        return [(336, horizon) for horizon in NETWORK_CELLS.get(name, ())]
    if model == "ridge_tuned":  # It chooses its context itself.
        return [(max(CONTEXTS), horizon) for horizon in HORIZONS]
    contexts = CONTEXTS
    if model == "seasonal_naive" and name == "weather":  # A season has 144 steps.
        contexts = CONTEXTS[1:]
    return [(context, horizon) for context in contexts for horizon in HORIZONS]


def cell(
    folder: Path, name: str, context: int, horizon: int, model: Name, seed: int, *,
    trial: int | None = None, released: bool = False,
) -> Row:  # fmt: skip
    """One row; a trial is scored on validation alone."""
    fits, networks = FitsConfig(), NetworksConfig()
    if released:
        fits = replace(fits, dlinear=RELEASED[name])
    elif model in TRIED:
        source = "ETTh1" if model in NETWORKS else name
        chosen = CHOSEN.get((source, model), 0) if trial is None else trial
        fit, init = TRIED[model][chosen]
        if name == "weather":
            fit = replace(fit, windows_per_epoch=WEATHER_WINDOWS)
        family = "mixers" if model in NETWORKS and model != "patchtst" else model
        fits = replace(fits, **{family: fit})
        networks = replace(networks, dlinear=DLinearConfig(init=init))
    config = BenchmarkConfig(
        data=DataConfig(path=str(folder / FILES[name])), models=[model], context=context,
        horizons=[horizon], networks=networks, fits=fits,
        parts=["test" if trial is None else "val"],
        trainer=TrainerConfig(threads=1, accelerator="cpu"),
    )  # fmt: skip
    kind = "released" if released else "table" if trial is None else f"trial_{trial}"
    out = RUNS / kind / name
    row = benchmark_row(
        _data(config.data), config, RunOptions(out=str(out), seed=seed), model, horizon
    )
    work = row.work
    assert isinstance(work, partial)
    if released:
        label = f"{name}/{row.name}".replace("dlinear", "dlinear_released")
        parameters = {**row.parameters, "model": "dlinear_released"}
        return Row(label, parameters, Work(*work.args))
    if trial is None:
        return Row(f"{name}/{row.name}", row.parameters, Work(*work.args))
    settings: dict[str, Cell] = {
        "trial": trial, "lr": fit.lr, "batch": fit.batch, "decay": fit.decay, "init": init,
    }  # fmt: skip
    label = f"{name}/{row.name}/trial {trial}"
    return Row(label, {**row.parameters, **settings}, Work(*work.args))


@cache
def _data(config: DataConfig) -> SeriesData:
    return read_series(config, max(CONTEXTS))


if __name__ == "__main__":
    main()
