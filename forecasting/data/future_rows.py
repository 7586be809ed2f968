"""Rows behind the last value of every series: columns known ahead, over the forecast's steps."""

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy.typing import NDArray

from forecasting.data.panel import Layout, Panel, check_doubles, read_numbers, read_times
from foretell.errors import UserError


def with_future(
    panel: Panel, steps: int, frame: pd.DataFrame | None
) -> tuple[Panel, Int64[np.ndarray, " series"]]:
    """A panel with `steps` more rows behind every series, where columns are known ahead.

    The target of such rows is NaN, columns of the past are 0.

    Args:
        panel: Series.
        steps: How many.
        frame: Series, time and the columns known ahead, rows in any order; none where no column
            is known ahead.

    Returns:
        The panel, and the first row of each series' future.

    Raises:
        UserError: No such frame though columns are known ahead, a frame though none is, columns
            that are missing or not declared, a step of a series without a row.
    """
    layout = panel.layout
    if not layout.future:
        if frame is not None:
            raise UserError("future_df is given, yet no column is declared in future_cols: drop it")
        return panel, panel.starts[1:]
    if frame is None:
        raise UserError(
            f"columns are known ahead ({', '.join(layout.future)}): give their next {steps} rows "
            "of every series in future_df (--future.path)"
        )
    stamps = panel.future_stamps(steps)
    ahead = _known(frame, panel, stamps)
    places = np.repeat(panel.starts[1:], steps)
    order = np.argsort(np.append(np.arange(len(panel.values)), places - 0.5), kind="stable")
    values: NDArray[np.float64] = np.append(panel.values, np.full(len(places), np.nan))[order]
    whole = replace(
        panel,
        starts=panel.starts + steps * np.arange(len(panel) + 1),
        values=values,
        stamps=pd.DatetimeIndex(panel.stamps.append(stamps))[order],
        past=np.concatenate([panel.past, np.zeros((len(places), panel.past.shape[1]))])[order],
        future=np.concatenate([panel.future, ahead])[order],
    )
    return whole, panel.starts[1:] + steps * np.arange(len(panel))


def _known(frame: pd.DataFrame, panel: Panel, times: pd.DatetimeIndex) -> np.ndarray:
    layout = panel.layout
    wanted = (layout.id, layout.time, *layout.future)
    for name in wanted:
        if name not in frame.columns:
            raise UserError(f"future_df has no column {name}; it needs {', '.join(wanted)}")
    foreign = [str(name) for name in frame.columns if name not in wanted]
    if foreign:
        raise UserError(f"future_df has column {foreign[0]}, which is not in future_cols: drop it")
    columns, index = _indexed(frame, layout)
    steps = len(times) // len(panel)
    series = np.repeat(panel.ids, steps)
    rows = index.get_indexer(pd.MultiIndex.from_arrays([series, times]))
    if (rows < 0).any():
        row, count = int((rows < 0).argmax()), int((rows < 0).sum())
        raise UserError(
            f"future_df has no row of series {series[row]} at {times[row]} ({count} such rows in "
            f"all): it needs {steps} steps behind each, whole horizons"
        )
    found: NDArray[np.float64] = columns[rows]
    return found


def _indexed(frame: pd.DataFrame, layout: Layout) -> tuple[NDArray[np.float64], pd.MultiIndex]:
    times = read_times(frame[layout.time], layout)
    codes, ids = pd.factorize(frame[layout.id], sort=True)
    order = np.lexsort((times.asi8, codes))
    codes, times, frame = codes[order], times[order], frame.iloc[order]
    check_doubles(codes, times, ids)
    columns = [read_numbers(frame[name], name, codes, times, ids, "none") for name in layout.future]
    return np.stack(columns, 1), pd.MultiIndex.from_arrays([np.asarray(ids)[codes], times])
