"""Forecasts of windows of a panel by one model, also beyond its horizon."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from forecasting.data.covariates import forecast
from forecasting.fit import SCORED_BATCH
from forecasting.panel_data import PanelTable
from forecasting.quantiles import QuantileForecaster


class WindowForecast(NamedTuple):
    """In scaled units."""

    point: Float64[np.ndarray, "windows steps"]
    quantiles: Float64[np.ndarray, "windows steps quantiles"] | None


@torch.no_grad()
def forecast_windows(
    model: nn.Module,
    table: PanelTable,
    starts: Int64[np.ndarray, " windows"],
    owner: Int64[np.ndarray, " windows"],
    *,
    context: int,
    horizon: int,
    rounds: int = 1,
) -> WindowForecast:
    """Forecast windows, batch by batch.

    Args:
        model: In eval mode.
        table: Series; with columns known ahead also their rows of the future.
        starts: First target rows.
        owner: Series.
        context: L.
        horizon: H.
        rounds: Horizons; from the second on forecasts stand in the context, and there are no
            quantiles.
    """
    points, quantiles = [], []
    for first in range(0, len(starts), SCORED_BATCH):
        part = slice(first, first + SCORED_BATCH)
        inputs = table.inputs(starts[part], owner[part], context, horizon)
        if isinstance(model, QuantileForecaster) and rounds == 1:
            wanted = inputs if isinstance(inputs, tuple) else (inputs,)
            found = model.quantiles(*wanted)[..., 0]
            quantiles.append(found)
            points.append(found[:, :, model.median])
            continue
        steps: list[Tensor] = []
        for place in range(rounds):
            if place:
                inputs = _fed_back(inputs, steps[-1], table, starts[part], owner[part], place)
            steps.append(forecast(model, inputs))
        points.append(torch.cat(steps, 1)[..., 0])
    joined = torch.cat(quantiles).double().numpy() if quantiles else None
    return WindowForecast(torch.cat(points).double().numpy(), joined)


def _fed_back(
    inputs: Any,
    found: Tensor,
    table: PanelTable,
    starts: Int64[np.ndarray, " windows"],
    owner: Int64[np.ndarray, " windows"],
    place: int,
) -> Any:
    """The next round's inputs: the forecast behind what was seen, columns from the table."""
    x = inputs[0] if isinstance(inputs, tuple) else inputs
    context, horizon = x.shape[1], found.shape[1]
    later = torch.cat([x, found], 1)[:, -context:]
    if not isinstance(inputs, tuple):
        return later
    _, covariates = table.inputs(starts + place * horizon, owner, context, horizon)
    return later, covariates
