"""A panel ready for training: parts in the order of time, scaled series by series, windows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64, Shaped
from torch import Tensor

from forecasting.data.covariates import CovariateScale, CovariateTable
from forecasting.data.panel import Panel, row_ranges
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
        kept = row_ranges(panel.starts[:-1], stops)
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
        return row_ranges(np.maximum(first, self.panel.starts[:-1] + context), stop - horizon + 1)

    def part_of(
        self,
        starts: Int64[np.ndarray, " windows"],
        owner: Int64[np.ndarray, " windows"],
        horizon: int,
    ) -> Shaped[np.ndarray, " windows"]:
        """train, val or calibration where a window's targets lie in one part, else across."""
        last = starts + horizon
        return np.select(
            [
                last <= self.train_stops[owner],
                (starts >= self.train_stops[owner]) & (last <= self.val_stops[owner]),
                starts >= self.val_stops[owner],
            ],
            ["train", "val", "calibration"],
            "across",
        )

    def windows(self, table: "PanelTable", part: str, context: int, horizon: int) -> Windows:
        """Windows of a part."""
        return table.windows(self.starts(part, context, horizon), context, horizon)


class PanelTable:
    """Scaled values and columns of a panel, from which windows of any series are gathered.

    Args:
        panel: Series; behind each may stand rows of the future.
        scale: Of the target.
        columns: Of the declared columns; none where there are none.
    """

    def __init__(
        self, panel: Panel, scale: SeriesScale, columns: CovariateScale | None = None
    ) -> None:
        self.panel = panel
        self.values = torch.from_numpy(scale.scaled(panel)).float()
        self._columns = None if columns is None else CovariateTable(panel, columns)

    @property
    def has_columns(self) -> bool:
        """Whether contexts come with covariates."""
        return self._columns is not None

    def windows(self, starts: Int64[np.ndarray, " windows"], context: int, horizon: int) -> Windows:
        """Contexts, with covariates where there are any, and targets."""
        if self._columns is not None:
            return CovariateWindows(self, starts, context, horizon)
        return Windows(self.values[:, None], torch.from_numpy(starts), context, horizon)

    def inputs(
        self,
        starts: Int64[np.ndarray, " windows"],
        owner: Int64[np.ndarray, " windows"],
        context: int,
        horizon: int,
    ) -> Any:
        """Contexts [windows, context, 1], with covariates where there are any.

        A series shorter than the context is lengthened on the left by its first row.

        Args:
            starts: First target rows.
            owner: Series.
            context: L.
            horizon: H, over which columns known ahead are taken.
        """
        first = self.panel.starts[:-1][owner]
        seen = np.maximum(starts[:, None] + np.arange(-context, 0), first[:, None])
        x = self.values[torch.from_numpy(seen)][..., None]
        if self._columns is None:
            return x
        return x, self._columns.gather(seen, starts[:, None] + np.arange(horizon), owner)


class CovariateWindows(Windows):
    """Windows with covariates: ((x, covariates), y)."""

    def __init__(
        self, table: PanelTable, starts: Int64[np.ndarray, " windows"], context: int, horizon: int
    ) -> None:
        super().__init__(table.values[:, None], torch.from_numpy(starts), context, horizon)
        self._table = table

    def gather(self, places: Int[Tensor, " batch"]) -> Any:
        """Windows by their number."""
        _, y = super().gather(places)
        starts = self.starts[places].numpy()
        owner = np.searchsorted(self._table.panel.starts, starts, side="right") - 1
        return self._table.inputs(starts, owner, self.context, self.horizon), y
