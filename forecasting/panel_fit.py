"""Fitting every model of a `Forecaster` to a panel of series."""

import tempfile

import numpy as np
import torch
from torch import nn

from forecasting.baselines.ridge import Ridge, solve_ridge, window_gram_of_tables
from forecasting.build import build_of, fit_of
from forecasting.config import UNTRAINED, Name
from forecasting.data.covariates import CovariateScale, forecast
from forecasting.data.panel import Panel
from forecasting.fit import SCORED_BATCH, fit
from forecasting.fitted import Fitted
from forecasting.forecaster_config import ForecasterConfig
from forecasting.intervals import Conformal
from forecasting.panel_data import PanelParts, PanelTable, SeriesScale
from forecasting.s2ip import S2IP
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory


def fit_panel(panel: Panel, config: ForecasterConfig, *, val_size: int, seed: int) -> Fitted:
    """Scale, train every model, keep its errors on the calibration windows.

    Args:
        panel: Series.
        config: Models and sizes.
        val_size: Rows at the end of each series that teach nothing.
        seed: Of weights and the order of windows.

    Raises:
        UserError: No training window; networks without a window to stop by; columns that a model
            cannot use.
    """
    parts = PanelParts.cut(panel, val_size)
    scale = SeriesScale.fit(panel, parts.train_stops)
    declared = config.static_cols or config.past_cols or config.future_cols
    columns = CovariateScale.fit(panel, parts.train_stops) if declared else None
    table = PanelTable(panel, scale, columns)
    if not len(parts.starts("train", config.context, config.horizon)):
        raise UserError(
            f"no series has {config.context} + {config.horizon} training rows, the longest has "
            f"{int((parts.train_stops - panel.starts[:-1]).max())}: shorten context, horizon or "
            "val_size"
        )
    models: dict[Name, nn.Module] = {}
    conformal: dict[Name, Conformal] = {}
    for name in config.models:
        torch.manual_seed(seed)
        model = build_of(name, config, panel.layout)
        if isinstance(model, Ridge):
            _solve(model, parts, table, scale, config)
        elif name not in UNTRAINED:
            if isinstance(model, S2IP) and config.networks.s2ip.linear_path == "ridge":
                ridge = Ridge(config.context, config.horizon)
                _solve(ridge, parts, table, scale, config)
                model.set_linear_path(ridge.weight)
            _train(name, model, parts, table, config, seed)
        models[name] = model.eval()
        conformal[name] = _calibrated(model, parts, table, config)
    return Fitted(config, models, conformal, panel, scale, columns, parts)


def _solve(
    model: Ridge, parts: PanelParts, table: PanelTable, scale: SeriesScale, config: ForecasterConfig
) -> None:
    settings, steps = config.networks.ridge, config.context + config.horizon
    if table.has_columns:
        train = parts.windows(table, "train", config.context, config.horizon)
        model.fit_windows(train.batches(SCORED_BATCH), penalty=settings.penalty)
        return
    values = scale.scaled(parts.panel)
    borders = zip(parts.panel.starts[:-1], parts.train_stops, strict=True)
    tables = [values[first:stop, None] for first, stop in borders if stop - first >= steps]
    gram = window_gram_of_tables(tables, steps)
    weight = solve_ridge(gram, config.context, settings.penalty, settings.centre)
    model.weight.copy_(torch.from_numpy(weight))


def _train(
    name: Name, model: nn.Module, parts: PanelParts, table: PanelTable, config: ForecasterConfig,
    seed: int,
) -> None:  # fmt: skip
    train, val = (
        parts.windows(table, part, config.context, config.horizon) for part in ("train", "val")
    )
    if not len(val):
        raise UserError(
            f"{name} needs windows to stop by: give fit a val_size of at least "
            f"{2 * config.horizon}, twice the horizon"
        )
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(out=folder, seed=seed, quiet=True)
        run = RunDirectory(folder)
        fit(model, fit_of(name, config.fits), train, val, config.trainer, run, options)


@torch.no_grad()
def _calibrated(
    model: nn.Module, parts: PanelParts, table: PanelTable, config: ForecasterConfig
) -> Conformal:
    starts = parts.starts("calibration", config.context, config.horizon)
    windows = table.windows(starts, config.context, config.horizon)
    errors, done = np.empty((len(windows), config.horizon)), 0
    for inputs, y in windows.batches(SCORED_BATCH):
        found = (y - forecast(model, inputs)).abs()[..., 0]
        errors[done : done + len(y)] = found.double().numpy()
        done += len(y)
    return Conformal(errors, np.searchsorted(parts.panel.starts, starts, side="right") - 1)
