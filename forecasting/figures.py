"""Pictures of forecasts: past, forecasts, bands, and what came where it is known."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from forecasting.data.panel import Layout
from foretell.run import atomic_path

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#d55e00", "#5c6770")
SHOWN_HORIZONS = 4
"""Past steps drawn, in horizons."""


def draw_forecasts(
    path: Path,
    past: pd.DataFrame,
    forecast: pd.DataFrame,
    layout: Layout,
    models: Sequence[str],
    level: Sequence[float | int],
    *,
    most: int,
) -> None:
    """A grid of series: the past and what came in grey, a line a model, the first model's bands.

    Args:
        path: PNG to write.
        past: Long frame of values.
        forecast: Long frame with a column a model.
        layout: Names of the columns.
        models: Columns to draw; the first is drawn thicker and with its bands.
        level: Percents of the bands.
        most: Series drawn at most, the first ones.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    chosen = list(dict.fromkeys(forecast[layout.id]))[:most]
    columns = min(3, max(1, len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(4.6 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, series in zip(grid, chosen, strict=False):
        own = forecast[forecast[layout.id] == series]
        seen = past[past[layout.id] == series].sort_values(layout.time)
        times = pd.to_datetime(seen[layout.time])
        kept = times <= pd.to_datetime(own[layout.time]).max()
        shown = seen[kept].tail((SHOWN_HORIZONS + 1) * len(own))
        axes.plot(pd.to_datetime(shown[layout.time]), shown[layout.target], color="0.45", lw=1)
        for place, name in enumerate(models):
            colour = COLOURS[place % len(COLOURS)]
            axes.plot(
                own[layout.time], own[name], color=colour, lw=1.8 if place == 0 else 0.9,
                label=name.replace("_", " "),
            )  # fmt: skip
        for one in sorted(level, reverse=True):
            axes.fill_between(
                own[layout.time], own[f"{models[0]}-lo-{one:g}"], own[f"{models[0]}-hi-{one:g}"],
                color=COLOURS[0], alpha=0.18, lw=0,
            )  # fmt: skip
        axes.set_title(str(series), fontsize=9)
        locator = AutoDateLocator(minticks=3)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.tick_params(labelsize=7)
        axes.xaxis.get_offset_text().set_fontsize(7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(chosen) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
