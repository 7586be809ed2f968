"""`foretell forecast m4`: models side by side on every series of one M4 frequency, one row a run.

Rows are appended to table.csv as they finish; the same command in the same --out goes on where it
stopped. The last horizon of the training file is validation: the test values choose nothing.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import nn

from forecasting.baselines.ridge import Ridge
from forecasting.baselines.simple import Drift, LastValue, SeasonalNaive
from forecasting.build import build_forecaster, count_weights, fit_of
from forecasting.config import Name
from forecasting.data.m4_windows import as_windows, cut_gram
from forecasting.evaluation.m4_metrics import m4_scores, naive2
from forecasting.fit import Loss, fit
from forecasting.m4_config import SEEDLESS, WHOLE_SERIES, M4Config, M4Name
from forecasting.m4_data import M4Data, read_m4_data
from forecasting.table import shown
from foretell.config import RunOptions
from foretell.peak_memory import peak_mb, reset_peak
from foretell.run import RunDirectory, atomic_write
from foretell.seeds import mean_and_std
from foretell.study import Cell, Row, Study

_log = logging.getLogger(__name__)

SCORES = ("smape", "mase", "owa")
METRICS = (
    *SCORES, *(f"val_{name}" for name in SCORES), "series", "weights", "windows_per_epoch",
    "epochs", "device", "seconds", "peak_mb",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One row of the table."""

    config: M4Config
    options: RunOptions
    model: M4Name


def run(config: M4Config, options: RunOptions) -> None:
    """Run the rows that are missing, then write table.md and metrics.json.

    Raises:
        UserError: Missing or broken data, series too short, rows of other settings in OUT.
    """
    data = read_m4_data(config)
    for model in config.models:  # sizes that do not fit are told first
        if model not in WHOLE_SERIES:
            _built(model, config, data)
    folder = RunDirectory.create("forecast-m4", config, options)
    rows = [
        _row(data, config, replace(options, seed=seed, seeds=1), model)
        for model in config.models
        for seed in range(options.seed, options.seed + options.seeds)
        if model not in SEEDLESS or seed == options.seed
    ]
    threads = config.trainer.threads or torch.get_num_threads()
    study = Study(folder.path / "table.csv", METRICS, jobs=config.jobs, threads=threads)
    own = {row.name for row in rows}  # the folder may hold other contexts and seeds
    found = [row for row in study.run(rows) if row["name"] in own]
    page = markdown_table(found, data, config)
    atomic_write(folder.path / "table.md", page)
    folder.write_metrics(metrics(found))
    _log.info("%s", page)


def _row(data: M4Data, config: M4Config, options: RunOptions, model: M4Name) -> Row:
    seed = None if model in SEEDLESS else options.seed
    context = None if model in WHOLE_SERIES else data.context
    name = "/".join(str(part) for part in (model, context, seed) if part is not None)
    own = Path(options.out) / "runs" / name.replace("/", "_")
    run = Run(config, replace(options, out=str(own), resume="auto", quiet=True), model)
    parameters: dict[str, Cell] = {
        "frequency": data.series.frequency, "model": model, "context": context, "seed": seed,
        "settings": _fingerprint(data, config, model),
    }  # fmt: skip
    return Row(name, parameters, partial(run_row, run))


def _fingerprint(data: M4Data, config: M4Config, model: M4Name) -> str:
    """Of what a row depends on besides its other columns; a file may move, not change."""
    known: list[object] = [config.parts, *(data.fingerprint(part) for part in config.parts)]
    if model not in WHOLE_SERIES:
        known += [data.history, data.scaling, asdict(config.networks).get(model)]
    if model not in SEEDLESS:
        known += [config.cuts, config.mase_weight, fit_of(_network_name(model), config.fits)]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:8]


def run_row(run: Run) -> Mapping[str, Cell]:
    """Train where there is something to train, score, tell what it took."""
    begun = time.perf_counter()
    resets = reset_peak()
    data = read_m4_data(run.config)
    series = data.series
    found: dict[str, Cell] = dict.fromkeys(METRICS)
    network = None if run.model in WHOLE_SERIES else _trained(run, data, found)
    for part, prefix in (("test", ""), ("val", "val_")):
        if part in run.config.parts or part == "val":
            known, wanted = data.part(part)
            if network is None:
                forecasts = [
                    whole_series_forecast(run.model, row, series.horizon, series.season)
                    for row in known
                ]
            else:
                forecasts = data.forecasts(network, part)
            scores = m4_scores(wanted, forecasts, known, series.season)
            found |= {f"{prefix}{name}": value for name, value in scores._asdict().items()}
    found |= {
        "series": len(series.ids), "weights": 0 if network is None else count_weights(network),
        "device": found["device"] or "cpu", "seconds": round(time.perf_counter() - begun, 2),
        "peak_mb": round(peak_mb()) if resets else None,
    }  # fmt: skip
    return found


def whole_series_forecast(
    model: M4Name, known: Float64[np.ndarray, " seen"], horizon: int, season: int
) -> Float64[np.ndarray, " horizon"]:
    """Of a name of `WHOLE_SERIES`, from all known values of one series."""
    network: nn.Module
    match model:
        case "naive2":
            return naive2(known, horizon, season)
        case "last":
            network = LastValue(horizon)
        case "drift":
            network = Drift(horizon)
        case _:
            network = SeasonalNaive(horizon, season)
    values: NDArray[np.float64] = network(torch.from_numpy(known)[None, :, None])[0, :, 0].numpy()
    return values


def _built(model: M4Name, config: M4Config, data: M4Data) -> nn.Module:
    return build_forecaster(
        _network_name(model), config.networks, context=data.context,
        horizon=data.series.horizon, season=data.series.season,
    )  # fmt: skip


def _trained(run: Run, data: M4Data, found: dict[str, Cell]) -> nn.Module:
    config = run.config
    torch.manual_seed(run.options.seed)
    network = _built(run.model, config, data)
    if isinstance(network, Ridge):
        gram = cut_gram(data.training_cuts(), data.history)
        return network.solve(gram, penalty=config.networks.ridge.penalty)
    fitted = fit(
        network, fit_of(_network_name(run.model), config.fits),
        data.random_cuts(config.cuts, run.options.seed),
        as_windows(data.last_cut("val")), config.trainer, RunDirectory(run.options.out),
        run.options, loss=Loss("smape", config.mase_weight),
    )  # fmt: skip
    found |= fitted._asdict()
    return network


def _network_name(model: M4Name) -> Name:
    assert model != "naive2"
    return model


def markdown_table(rows: Sequence[Mapping[str, str]], data: M4Data, config: M4Config) -> str:
    """Mean ± standard deviation over seeds, a line for each model."""
    horizon = data.series.horizon
    lines = [
        f"# M4 {data.series.frequency}, {len(data.series.ids):,} series, horizon {horizon}",
        "",
        f"sMAPE in percent, MASE with season {data.series.season}, OWA against Naive2: means over "
        "series; mean ± sample standard deviation over seeds. Trained forecasts see "
        f"{data.context} values, the others the whole series. val = the last {horizon} training "
        "values, which nothing is taught by and the best epoch is chosen by; s = seconds of a row.",
        "",
        "| model | sMAPE | MASE | OWA | val sMAPE | val MASE | seeds | weights | epochs | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in config.models:
        own = [row for row in rows if row["model"] == model]
        if own:
            lines.append(_line(own, model))
    return "\n".join(lines) + "\n"


def _line(rows: Sequence[Mapping[str, str]], model: M4Name) -> str:
    shown_scores = [shown(rows, column, digits=3) for column in (*SCORES, "val_smape", "val_mase")]
    cells = (
        model, *shown_scores, "-" if model in SEEDLESS else str(len(rows)),
        f"{int(rows[0]['weights']):,}", rows[0]["epochs"] or "-", shown(rows, "seconds", digits=1),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def metrics(rows: Sequence[Mapping[str, str]]) -> dict[str, float | int | None]:
    """`test/<model>/smape/{mean,std,n}` and `val/<model>/smape`; the same of mase and owa."""
    found: dict[str, float | int | None] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        for name in SCORES:
            found[f"val/{model}/{name}"], _ = mean_and_std([float(r[f"val_{name}"]) for r in own])
            values = [float(row[name]) for row in own if row[name]]
            if values:
                mean, std = mean_and_std(values)
                stem = f"test/{model}/{name}"
                found |= {f"{stem}/mean": mean, f"{stem}/std": std, f"{stem}/n": len(values)}
    return found
