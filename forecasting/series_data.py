"""A table ready for training: split, scaled by training rows, cut into windows."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from forecasting.data.known_files import KNOWN, KnownFile
from forecasting.data.scaler import ColumnScaler
from forecasting.data.series_table import SeriesTable
from forecasting.data.splits import Split, few_shot, usual_split, window_starts
from forecasting.data.wide_files import read_wide
from forecasting.data.windows import Windows
from forecasting.data_config import DataConfig
from foretell.errors import UserError

_log = logging.getLogger(__name__)

DAY_S = 86_400.0
CYCLES_S = (DAY_S, 7 * DAY_S, 365.2425 * DAY_S)
"""A day, a week, a year."""


@dataclass(frozen=True)
class SeriesData:
    """One table under one split."""

    table: SeriesTable
    split: Split
    """With the training rows that are kept."""
    scaler: ColumnScaler
    scaled: Float64[np.ndarray, "rows channels"]
    season: int
    """Steps."""

    def windows(self, part: str, context: int, horizon: int) -> Windows:
        """All windows of train, val or test.

        Raises:
            UserError: The part has none.
        """
        rows = self.split.part(part)
        first_row = rows.start if part == "train" else 0
        starts = window_starts(rows, context, horizon, first_row=first_row)
        if not len(starts):
            needed = horizon + (context if part == "train" else 0)
            raise UserError(
                f"{self.table.name} has {len(rows):,} rows in {part}, a window of context "
                f"{context} and horizon {horizon} needs {needed:,}: shorten them, or give more data"
            )
        values = torch.from_numpy(self.scaled).float()
        return Windows(values, starts, context, horizon)


def read_series(config: DataConfig, context: int) -> SeriesData:
    """Read, split and scale; tells which rows the scaler saw.

    Args:
        config: File, split, few-shot share.
        context: L, which the few-shot rule asks for.

    Raises:
        UserError: See `read_wide`; a split that the rows do not allow.
    """
    if not config.path:
        raise UserError("--data.path is missing: a CSV of series, one column each")
    return prepare(read_wide(config.path), config, context)


def prepare(table: SeriesTable, config: DataConfig, context: int) -> SeriesData:
    """Split and scale a table."""
    known = next((file for file in KNOWN.values() if file.name == table.name), None)
    step_s = _step_s(table)
    kind = known.split if known and config.split == "auto" else config.split
    whole = usual_split(kind, len(table), table.channels, step_s)
    split = whole if config.percent == 100 else few_shot(whole, config.percent, context)
    rows = split.train if config.scaler_rows == "kept" else whole.train
    scaler = ColumnScaler.fit(table.values, rows, table.channels)
    _log.info(
        "%s: training rows %d-%d, validation %d-%d, test %d-%d; scaled by rows %d-%d",
        table.name, split.train.start, split.train.stop - 1, split.val.start, split.val.stop - 1,
        split.test.start, split.test.stop - 1, rows.start, rows.stop - 1,
    )  # fmt: skip
    season = config.season or usual_season(known, table, step_s)
    return SeriesData(table, split, scaler, scaler.scale(table.values), season)


def usual_season(known: KnownFile | None, table: SeriesTable, step_s: float) -> int:
    """Steps of the season that a file is known for, else of the next longer cycle."""
    if known:
        return known.season
    if table.stamps_made_up:
        return 1
    longer = [cycle_s / step_s for cycle_s in CYCLES_S if cycle_s >= 2 * step_s]
    return round(longer[0]) if longer else 1


def _step_s(table: SeriesTable) -> float:
    if len(table) < 2:
        return DAY_S
    step = pd.Timedelta(int(np.median(np.diff(table.stamps).astype(np.int64))), "ns")
    return step.total_seconds()
