"""`foretell forecast benchmark`: models side by side, every test window, one row a run.

Rows are appended to table.csv as they finish; the same command in the same --out goes on where it
stopped.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from forecasting.ablations import ABLATIONS, Shuffled, ablated
from forecasting.baselines.ridge import Ridge, ridge_trials
from forecasting.build import build_forecaster, count_weights, fit_of
from forecasting.config import (
    CHEAP_ABLATIONS,
    UNTRAINED,
    Ablation,
    BenchmarkConfig,
    Name,
)
from forecasting.evaluation.errors import ForecastErrors
from forecasting.fit import fit, score
from forecasting.published import published
from forecasting.s2ip import S2IP
from forecasting.series_data import SeriesData, read_series
from forecasting.table import shown
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.peak_memory import peak_mb, reset_peak
from foretell.run import RunDirectory, atomic_write
from foretell.seeds import mean_and_std
from foretell.study import Cell, Row, Study

_log = logging.getLogger(__name__)

METRICS = (
    "mse", "mae", "windows", "val_mse", "val_mae", "weights", "windows_per_epoch", "epochs",
    "chosen", "device", "seconds", "peak_mb",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One row of the table."""

    config: BenchmarkConfig
    options: RunOptions
    model: Name
    horizon: int
    ablation: Ablation | None = None
    """Of s2ip, whose networks in `config` are ablated already."""


def run(config: BenchmarkConfig, options: RunOptions) -> None:
    """Run the rows that are missing, then write table.md and metrics.json.

    Raises:
        UserError: Missing or broken data, a part without a window, rows of other settings in OUT.
    """
    data = read_series(config.data, config.context)
    for horizon in config.horizons:  # sizes that do not fit are told first
        for part in ("train", *config.parts):
            data.windows(part, config.context, horizon)
        for model in config.models:
            build_forecaster(
                model, config.networks, context=config.context, horizon=horizon, season=data.season
            )
    folder = RunDirectory.create("forecast-benchmark", config, options)
    rows = [
        benchmark_row(data, config, replace(options, seed=seed, seeds=1), model, horizon, ablation)
        for horizon in config.horizons
        for model in config.models
        for ablation in _beside(model, config)
        for seed in range(options.seed, options.seed + options.seeds)
        if model not in UNTRAINED or seed == options.seed
    ]
    study = Study(folder.path / "table.csv", METRICS, jobs=config.jobs, threads=_threads(config))
    found = study.run(rows)
    page = markdown_table(found, data.table.name, config)
    atomic_write(folder.path / "table.md", page)
    folder.write_metrics(metrics(found))
    _log.info("%s", page)


def _beside(model: Name, config: BenchmarkConfig) -> Sequence[Ablation | None]:
    if model != "s2ip":
        return (None,)
    own = config.networks.s2ip.backbone.kind
    wanted = ABLATIONS if config.ablate else CHEAP_ABLATIONS
    return (None, *(ablation for ablation in wanted if ablation != own))


def benchmark_row(
    data: SeriesData,
    config: BenchmarkConfig,
    options: RunOptions,
    model: Name,
    horizon: int,
    ablation: Ablation | None = None,
) -> Row:
    """The row of a study that `run_row` fills, named model/context/horizon(/seed)."""
    label: str = model
    if ablation is not None:
        label = f"{model}-{ablation}"
        s2ip = ablated(config.networks.s2ip, ablation)
        config = replace(config, networks=replace(config.networks, s2ip=s2ip))
    seed = None if model in UNTRAINED else options.seed
    name = f"{label}/{config.context}/{horizon}" + ("" if seed is None else f"/{seed}")
    own = Path(options.out) / "runs" / name.replace("/", "_")
    kept = replace(options, out=str(own), resume="auto", quiet=True)
    run = Run(config, kept, model, horizon, ablation)
    parameters: dict[str, Cell] = {
        "data": data.table.name, "model": label, "context": config.context, "horizon": horizon,
        "seed": seed, "settings": _fingerprint(data, config, model),
    }  # fmt: skip
    return Row(name, parameters, partial(run_row, run))


def _fingerprint(series: SeriesData, config: BenchmarkConfig, model: Name) -> str:
    """Of what a row depends on besides its other columns; the file may move, not change.

    Options that are off do not count, so that a new one leaves finished rows valid.
    """
    data = {name: value for name, value in asdict(config.data).items() if name != "path"}
    data["values"] = hashlib.sha256(series.table.values.tobytes()).hexdigest()
    fits = None if model in UNTRAINED else fit_of(model, config.fits)
    networks = getattr(config.networks, model.removesuffix("_tuned"), None)
    known = repr([data, *(_on(asdict(part)) for part in (networks, fits) if part), config.parts])
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _on(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _on(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if value is not None and value is not False
    }


def _threads(config: BenchmarkConfig) -> int:
    return config.trainer.threads or torch.get_num_threads()


def run_row(run: Run) -> Mapping[str, Cell]:
    """Train where there is something to train, score, tell what it took."""
    config, horizon = run.config, run.horizon
    begun = time.perf_counter()
    resets = reset_peak()
    data = read_series(config.data, config.context)
    found: dict[str, Cell] = dict.fromkeys(METRICS)
    network: nn.Module
    if run.model == "ridge_tuned":
        context, network = tuned_ridge(data, config, horizon, found)
    else:
        context, network = config.context, _trained(run, data, found)
    if run.ablation == "shuffled":
        network = Shuffled(network, context)
    for part, prefix in (("test", ""), ("val", "val_")):
        if part in config.parts or part == "val":
            windows = data.windows(part, context, horizon)
            if part == "val" and run.model not in UNTRAINED:  # those that stopped its training
                fewer = fit_of(run.model, config.fits).val_windows
                windows = windows if fewer is None else windows.spaced(fewer)
            errors = score(network, windows)
            found |= {f"{prefix}mse": errors.mse, f"{prefix}mae": errors.mae}
            found |= {"windows": errors.windows} if part == "test" else {}
    found |= {
        "weights": count_weights(network), "device": found["device"] or "cpu",
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_mb": round(peak_mb()) if resets else None,
    }  # fmt: skip
    return found


def _trained(run: Run, data: SeriesData, found: dict[str, Cell]) -> nn.Module:
    config, horizon = run.config, run.horizon
    torch.manual_seed(run.options.seed)
    network = build_forecaster(
        run.model, config.networks, context=config.context, horizon=horizon, season=data.season
    )
    if isinstance(network, Ridge):
        return network.fit(_train_rows(data), penalty=config.networks.ridge.penalty)
    if run.model in UNTRAINED:
        return network
    if isinstance(network, S2IP) and config.networks.s2ip.linear_path == "ridge":
        ridge = Ridge(config.context, horizon).fit(_train_rows(data))
        network.set_linear_path(ridge.weight)
    settings = fit_of(run.model, config.fits)
    train, val = (data.windows(part, config.context, horizon) for part in ("train", "val"))
    folder = RunDirectory(run.options.out)
    fitted = fit(network, settings, train, val, config.trainer, folder, run.options)
    found |= fitted._asdict()
    if isinstance(network, S2IP) and network.gate is not None:
        found["chosen"] = f"gate {float(network.gate):.3f}"
    return network


def tuned_ridge(
    data: SeriesData, config: BenchmarkConfig, horizon: int, found: dict[str, Cell]
) -> tuple[int, Ridge]:
    """Context and penalty with the least validation error; the test is not looked at."""
    settings = config.networks.ridge
    rows = _train_rows(data)
    contexts = [length for length in settings.contexts if length + horizon <= len(rows)]
    if not contexts:
        raise UserError(
            f"no context of networks.ridge.contexts {settings.contexts} leaves a training window "
            f"in {len(rows)} rows: name shorter ones"
        )
    trials: list[tuple[float, int, float, Ridge]] = []
    for context, penalty, model in ridge_trials(
        rows, contexts, settings.penalties, horizon, settings.centre
    ):
        errors: ForecastErrors = score(model, data.windows("val", context, horizon))
        trials.append((errors.mse, context, penalty, model))
    _, context, penalty, model = min(trials, key=lambda trial: trial[0])
    found["chosen"] = f"context {context}, penalty {penalty:g}, of {len(trials)}"
    return context, model


def _train_rows(data: SeriesData) -> Float64[np.ndarray, "rows channels"]:
    rows = data.split.train
    return data.scaled[rows.start : rows.stop]


def markdown_table(rows: Sequence[Mapping[str, str]], data: str, config: BenchmarkConfig) -> str:
    """Mean ± standard deviation over seeds, a line for each horizon and model."""
    lines = [
        f"# {data}, context {config.context}",
        "",
        "MSE / MAE of standardised values over every window of the test rows, stride 1, none "
        "dropped; mean ± sample standard deviation over seeds. val = MSE of validation. Published: "
        "other loaders drop the last batch.",
        "",
        "| horizon | model | MSE | MAE | seeds | windows | val | weights | windows an epoch | "
        "epochs | seconds | peak MiB | published |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for horizon in config.horizons:
        labels = [
            model if ablation is None else f"{model}-{ablation}"
            for model in config.models
            for ablation in _beside(model, config)
        ]
        for model in labels:
            own = [row for row in rows if _is(row, model, config.context, horizon)]
            if own:
                lines.append(_line(own, data, model, config.context, horizon))
    return "\n".join(lines) + "\n"


def _line(
    rows: Sequence[Mapping[str, str]], data: str, model: str, context: int, horizon: int
) -> str:
    known = published(data, model, context, horizon)
    first = rows[0]
    cells = (
        horizon, model, shown(rows, "mse"), shown(rows, "mae"),
        "-" if model in UNTRAINED else len(rows), first["windows"] or "-",
        shown(rows, "val_mse"), f"{int(first['weights']):,}", first["windows_per_epoch"] or "-",
        first["epochs"] or first["chosen"] or "-", shown(rows, "seconds", digits=1),
        first["peak_mb"] or "-", "-" if known is None else f"{known[0]:.3f} / {known[1]:.3f}",
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _is(row: Mapping[str, str], model: str, context: int, horizon: int) -> bool:
    wanted = (model, str(context), str(horizon))
    return (row["model"], row["context"], row["horizon"]) == wanted


def metrics(rows: Sequence[Mapping[str, str]]) -> dict[str, float | int | None]:
    """`test/<model>/h<horizon>/mse/{mean,std,n}`, and the same of mae."""
    found: dict[str, float | int | None] = {}
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["horizon"]), []).append(row)
    for (model, horizon), own in groups.items():
        for part, prefix in (("test", ""), ("val", "val_")):
            for metric in ("mse", "mae"):
                values = [row[f"{prefix}{metric}"] for row in own]
                if not all(values):
                    continue
                mean, std = mean_and_std([float(value) for value in values])
                name = f"{part}/{model}/h{horizon}/{metric}"
                if part == "val":
                    found[name] = mean
                else:
                    found |= {f"{name}/mean": mean, f"{name}/std": std, f"{name}/n": len(own)}
    return found
