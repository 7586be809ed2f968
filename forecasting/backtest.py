"""`foretell forecast backtest`: forecasts of the last windows beside what came."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecasting.data.panel import Layout, Panel
from forecasting.figures import draw_forecasts
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import BacktestConfig
from forecasting.frame_files import read_frame, write_frame
from forecasting.intervals import score_intervals
from forecasting.train import held_rows, plain
from foretell.config import RunOptions
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)

QUARTERS = 4


def run(config: BacktestConfig, options: RunOptions) -> None:
    """Write backtest.csv, metrics.json, intervals.csv and figures/backtest.png.

    Raises:
        UserError: Missing or broken data, series too short for so many windows.
    """
    frame = read_frame(config.data.path, config)
    folder = RunDirectory.create("forecast-backtest", config, options)
    forecaster = Forecaster(plain(config), seed=options.seed)
    found = forecaster.cross_validation(
        frame, n_windows=config.n_windows, step_size=config.step_size, val_size=held_rows(config),
        refit=config.refit, level=config.level,
    )  # fmt: skip
    layout, models = forecaster.layout(None), list(forecaster.models)
    write_frame(found, folder.path / "backtest.csv")
    assert forecaster.fitted is not None
    scales = naive_errors(forecaster.fitted.panel, found, layout, config.season)
    errors = series_errors(found, layout, models, scales)
    write_frame(errors, folder.path / "errors.csv")
    scores: dict[str, float | None] = {}
    for name in models:
        scores[f"test/{name}/rmae"] = relative(errors, name)
        scores[f"test/{name}/mase"] = mean_mase(errors, name)
    if config.level:
        intervals = interval_table(found, layout, models, config.level)
        write_frame(intervals, folder.path / "intervals.csv")
        whole = intervals[(intervals.quarter == "all") & (intervals.series == "all")]
        for name, one, coverage in zip(whole.model, whole.level, whole.coverage_pct, strict=True):
            scores[f"test/{name}/{one:g}/coverage_pct"] = float(coverage)
        _log.info("%s", intervals[intervals.series == "all"].to_string(index=False))
    metrics: dict[str, float | None] = {}
    for key, value in scores.items():
        metrics |= {f"{key}/mean": value, f"{key}/std": None, f"{key}/n": 1}
    folder.write_metrics(metrics)
    last = found[found.cutoff == found.groupby(layout.id).cutoff.transform("max")]
    draw_forecasts(
        folder.figures / "backtest.png", frame, last, layout, models, config.level, most=9
    )
    _log.info("%s", errors.to_string(index=False))


def naive_errors(
    panel: Panel, found: pd.DataFrame, layout: Layout, season: int
) -> Mapping[Any, float]:
    """Mean |y_t - y_(t-m)| of every series up to its first cutoff, m = season; the scale of MASE.

    A series without m + 1 such rows has NaN.
    """
    first = found.groupby(layout.id)["cutoff"].min()
    scales = {}
    for place, series in enumerate(panel.ids.tolist()):
        rows = slice(panel.starts[place], panel.starts[place + 1])
        known = panel.values[rows][panel.stamps[rows] <= first[series]]
        changes = np.abs(known[season:] - known[:-season])
        scales[series] = float(changes.mean()) if len(changes) else float("nan")
    return scales


def series_errors(
    found: pd.DataFrame, layout: Layout, models: Sequence[str], scales: Mapping[Any, float]
) -> pd.DataFrame:
    """MAE and RMSE of every series and model, in the series' units, and MASE without units."""
    rows = []
    for series, own in found.groupby(layout.id, sort=False):
        for name in models:
            error = own[layout.target] - own[name]
            mae, scale = float(error.abs().mean()), scales[series]
            rows.append({
                "series": series, "model": name, "mae": mae,
                "rmse": float(np.sqrt((error**2).mean())),
                "mase": mae / scale if scale > 0 else None, "values": len(own),
            })  # fmt: skip
    return pd.DataFrame(rows)


def relative(errors: pd.DataFrame, model: str) -> float | None:
    """Mean over series of the MAE over that of the last value: units differ, ratios do not.

    A series on which the last value errs by nothing is left out; none where all are.
    """
    table = errors.pivot(index="series", columns="model", values="mae")
    kept = table[table["last"] > 0]
    return float((kept[model] / kept["last"]).mean()) if len(kept) else None


def mean_mase(errors: pd.DataFrame, model: str) -> float | None:
    """Mean over series; those whose scale is 0 or unknown are left out, none where all are."""
    kept = errors[errors.model == model].mase.dropna()
    return float(kept.mean()) if len(kept) else None


def interval_table(
    found: pd.DataFrame, layout: Layout, models: Sequence[str], level: Sequence[float | int]
) -> pd.DataFrame:
    """Coverage, width and pinball loss by quarter of the horizon and by series."""
    step = found.groupby([layout.id, "cutoff"]).cumcount()
    quarter = step * QUARTERS // (int(step.max()) + 1) + 1
    groups = [("all", "all", np.ones(len(found), dtype=bool))]
    groups += [("all", str(q), (quarter == q).to_numpy()) for q in range(1, QUARTERS + 1)]
    groups += [
        (str(series), "all", (found[layout.id] == series).to_numpy())
        for series in found[layout.id].unique()
    ]
    rows = []
    for name in models:
        for one in level:
            for series, part, chosen in groups:
                if not chosen.any():  # a horizon of fewer than four steps
                    continue
                own = found[chosen]
                score = score_intervals(
                    own[layout.target].to_numpy(float), own[f"{name}-lo-{one:g}"].to_numpy(float),
                    own[f"{name}-hi-{one:g}"].to_numpy(float), one,
                )  # fmt: skip
                rows.append({
                    "model": name, "level": one, "series": series, "quarter": part,
                    "coverage_pct": score.coverage, "width": score.width,
                    "pinball": score.pinball, "values": len(own),
                })  # fmt: skip
    return pd.DataFrame(rows)
