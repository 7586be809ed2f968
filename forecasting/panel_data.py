"""A panel ready for training: parts in the order of time, scaled series by series, windows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from forecasting.data.panel import Panel
from forecasting.data.windows import Windows
from foretell.errors import UserError


@dataclass(frozen=True)
class SeriesScale:
    """Mean and population deviation of each series; of a constant one the deviation is 1."""

    mean: Float64[np.ndarray, " series"]
    std: Float64[np.ndarray, " series"]

    @classmethod
    def fit(cls, panel: Panel, stops: Int64[np.ndarray, " series"]) -> "SeriesScale":
        """From the rows of each series before its stop."""
        counts = stops - panel.starts[:-1]
        kept = _rows(panel.starts[:-1], stops)
        owner = np.repeat(np.arange(len(panel)), counts)
        mean = np.bincount(owner, panel.values[kept], len(panel)) / counts
        spread = (panel.values[kept] - mean[owner]) ** 2
        std = np.sqrt(np.bincount(owner, spread, len(panel)) / counts)
        return cls(mean, np.where(std == 0, 1.0, std))

    def scaled(self, panel: Panel) -> Float64[np.ndarray, " rows"]:
        """All values of a panel of the same series."""
        values: Float64[np.ndarray, " rows"] = (
            panel.values - np.repeat(self.mean, panel.lengths)
        ) / np.repeat(self.std, panel.lengths)
        return values


@dataclass(frozen=True)
class PanelParts:
    """Rows of every series: training, then early stopping, then calibration at the end."""

    panel: Panel
    train_stops: Int64[np.ndarray, " series"]
    val_stops: Int64[np.ndarray, " series"]
    """Where early stopping ends and calibration begins."""

    @classmethod
    def cut(cls, panel: Panel, val_size: int) -> "PanelParts":
        """The last `val_size` rows of every series are held out, half for each purpose.

        Raises:
            UserError: Series with no more rows than that.
        """
        if val_size < 0:
            raise UserError(f"val_size must not be negative, got {val_size}")
        short = np.flatnonzero(panel.lengths <= val_size)
        if len(short):
            raise UserError(
                f"{len(short)} series have no more than the {val_size} rows of val_size, such as "
                f"{panel.ids[short[0]]}: lower val_size, or leave them out"
            )
        train = panel.starts[1:] - val_size
        return cls(panel, train, train + (val_size + 1) // 2)

    def starts(self, part: str, context: int, horizon: int) -> Int64[np.ndarray, " windows"]:
        """First target rows of a part's windows; targets stay in their part."""
        first, stop = {
            "train": (self.panel.starts[:-1], self.train_stops),
            "val": (self.train_stops, self.val_stops),
            "calibration": (self.val_stops, self.panel.starts[1:]),
        }[part]
        return _rows(np.maximum(first, self.panel.starts[:-1] + context), stop - horizon + 1)

    def windows(
        self, values: Float[Tensor, "rows 1"], part: str, context: int, horizon: int
    ) -> Windows:
        """Windows of a part."""
        starts = torch.from_numpy(self.starts(part, context, horizon))
        return Windows(values, starts, context, horizon)


def _rows(
    first: Int64[np.ndarray, " series"], stop: Int64[np.ndarray, " series"]
) -> Int64[np.ndarray, " rows"]:
    """first .. stop - 1 of every series, behind each other."""
    counts = np.maximum(stop - first, 0)
    shift = np.repeat(first - np.append(0, counts.cumsum()[:-1]), counts)
    rows: Int64[np.ndarray, " rows"] = np.arange(counts.sum(), dtype=np.int64) + shift
    return rows
