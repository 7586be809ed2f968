"""Several models over many series: fit, predict the real future, backtest, save, load.

    f = Forecaster(ForecasterConfig(models=["ridge", "dlinear"], horizon=24, context=96, freq="h"))
    f.fit(frame, val_size=480)
    f.predict(level=[80, 95])

Frames are long; what comes out has the columns' names that went in. Series are scaled one by one
by their training rows; models are shared by all and work on series unseen in `fit`, scaled by the
rows that they come with. Predicting is deterministic.
"""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from forecasting.baselines.ridge import Ridge, solve_ridge, window_gram_of_tables
from forecasting.build import build_forecaster, fit_of
from forecasting.config import UNTRAINED, Name
from forecasting.data.panel import Layout, Panel, read_panel, recognise
from forecasting.data.windows import Windows
from forecasting.fit import SCORED_BATCH, fit
from forecasting.forecaster_config import ForecasterConfig
from forecasting.intervals import Conformal, check_levels
from forecasting.panel_data import PanelParts, SeriesScale
from forecasting.saved_forecaster import read_forecaster, write_forecaster
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)

WINDOWS_AT_ONCE = 16_384
"""Of a backtest, series by cutoffs; bounds its memory."""


class Forecaster:
    """Fitted models and what predicting needs.

    Args:
        config: Models, horizon, context, frequency, columns.
        seed: Of weights and the order of windows.
    """

    def __init__(self, config: ForecasterConfig, *, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self.models: dict[Name, nn.Module] = {}
        self.conformal: dict[Name, Conformal] = {}
        self.panel: Panel | None = None
        self.scale: SeriesScale | None = None

    def fit(self, frame: pd.DataFrame, *, val_size: int = 0) -> "Forecaster":
        """Train every model.

        Args:
            frame: Long, rows in any order.
            val_size: Rows at the end of each series that are not trained on: the first half stops
                training, the second calibrates the intervals. 0 = neither; networks then train all
                their epochs.

        Raises:
            UserError: Broken frames; no training window; networks without a window to stop by.
        """
        self._fit(self._read(frame), val_size)
        return self

    def predict(
        self, frame: pd.DataFrame | None = None, *, level: Sequence[float | int] = ()
    ) -> pd.DataFrame:
        """The steps that follow each series.

        Args:
            frame: Series to forecast, seen in `fit` or not; none = those of `fit`.
            level: Percents of the intervals, such as [80, 95].

        Returns:
            Series, time, then a column a model, and `<model>-lo-80`, `<model>-hi-80` a level;
            series times horizon rows.

        Raises:
            UserError: Before `fit`, series shorter than the context, too few calibration windows.
        """
        panel, scale = self._fitted()
        check_levels(level)
        if frame is not None:
            panel = self._read(frame)
            scale = self._scale_of(panel)
        stops = panel.starts[1:]
        owner = np.arange(len(panel))
        columns = self._forecasts(panel, scale, owner, stops, level)
        times = panel.future_stamps(self.config.horizon)
        return self._framed(panel, owner, times, columns)

    def cross_validation(
        self,
        frame: pd.DataFrame,
        *,
        n_windows: int = 1,
        step_size: int | None = None,
        val_size: int = 0,
        refit: bool = False,
        level: Sequence[float | int] = (),
    ) -> pd.DataFrame:
        """Forecasts of the last windows of every series, beside what came.

        Args:
            frame: Long.
            n_windows: Cutoffs, the last one horizon before the end.
            step_size: Steps between two; none = the horizon.
            val_size: As in `fit`.
            refit: Fit anew before every cutoff; off = once, before the first.
            level: As in `predict`.

        Returns:
            Series, time, cutoff, the target, then the models' columns.

        Raises:
            UserError: Series too short for that.
        """
        check_levels(level)
        step = step_size or self.config.horizon
        if n_windows < 1 or step < 1:
            raise UserError(f"n_windows and step_size must be at least 1, got {n_windows}, {step}")
        panel, found = self._read(frame), []
        rows_behind = self.config.horizon + step * np.arange(n_windows)[::-1]
        stops = panel.starts[1:] - rows_behind[:, None]  # [cutoffs, series]
        together = 1 if refit else max(1, WINDOWS_AT_ONCE // len(panel))
        for first in range(0, n_windows, together):
            if first == 0 or refit:
                self._fit(_before(panel, stops[first]), val_size)
            assert self.scale is not None
            part = stops[first : first + together]
            owner = np.tile(np.arange(len(panel)), len(part))
            columns = self._forecasts(panel, self.scale, owner, part.ravel(), level)
            found.append(self._compared(panel, owner, part.ravel(), columns))
        layout = panel.layout
        return pd.concat(found).sort_values([layout.id, "cutoff", layout.time], ignore_index=True)

    def layout(self, frame: pd.DataFrame | None) -> Layout:
        """Which column is what, in a frame or in that of `fit`."""
        if frame is None:
            return self._fitted()[0].layout
        config = self.config
        return recognise(
            frame, id_col=config.id_col, time_col=config.time_col, target_col=config.target_col
        )

    def history(self, frame: pd.DataFrame | None) -> pd.DataFrame:
        """The values that forecasts follow: the frame's, or the last ones of `fit`."""
        if frame is not None:
            return frame
        panel, _ = self._fitted()
        return pd.DataFrame({
            panel.layout.id: np.repeat(panel.ids, panel.lengths),
            panel.layout.time: panel.stamps, panel.layout.target: panel.values,
        })  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write configuration, trained tensors and the rows that predicting needs; no pickle.

        Raises:
            UserError: Before `fit`, or an unwritable folder.
        """
        panel, scale = self._fitted()
        write_forecaster(Path(folder), self.config, self.models, self.conformal, panel, scale)

    @classmethod
    def load(cls, folder: str | Path, *, backbone: str | None = None) -> "Forecaster":
        """Read what `save` wrote.

        Args:
            folder: Written by `save`.
            backbone: Where the language model is now; none = where it was.

        Raises:
            UserError: No forecaster there, keys that do not fit, another language model.
        """
        kept = read_forecaster(Path(folder), backbone=backbone)
        found = cls(kept.config)
        found.models, found.conformal = kept.models, kept.conformal
        found.panel, found.scale = kept.panel, kept.scale
        return found

    def _fit(self, panel: Panel, val_size: int) -> None:
        config = self.config
        parts = PanelParts.cut(panel, val_size)
        self.panel, self.scale = panel, SeriesScale.fit(panel, parts.train_stops)
        values = torch.from_numpy(self.scale.scaled(panel))[:, None]
        train = parts.windows(values.float(), "train", config.context, config.horizon)
        if not len(train):
            raise UserError(
                f"no series has {config.context} + {config.horizon} training rows, the longest has "
                f"{int((parts.train_stops - panel.starts[:-1]).max())}: shorten context, horizon "
                "or val_size"
            )
        for name in config.models:
            torch.manual_seed(self.seed)
            model = build_forecaster(
                name, config.networks, context=config.context, horizon=config.horizon,
                season=config.season,
            )  # fmt: skip
            if isinstance(model, Ridge):
                self._fit_ridge(model, parts, values.numpy()[:, 0])
            elif name not in UNTRAINED:
                self._train(name, model, train, parts, values.float())
            self.models[name] = model.eval()
            self._calibrate(name, parts, values.float())

    def _fit_ridge(
        self, model: Ridge, parts: PanelParts, values: Float64[np.ndarray, " rows"]
    ) -> None:
        config = self.config
        steps = config.context + config.horizon
        borders = zip(parts.panel.starts[:-1], parts.train_stops, strict=True)
        tables = [values[first:stop, None] for first, stop in borders if stop - first >= steps]
        gram = window_gram_of_tables(tables, steps)
        settings = config.networks.ridge
        weight = solve_ridge(gram, config.context, settings.penalty, settings.centre)
        model.weight.copy_(torch.from_numpy(weight))

    def _train(
        self, name: Name, model: nn.Module, train: Windows, parts: PanelParts, values: Tensor
    ) -> None:
        config = self.config
        val = parts.windows(values, "val", config.context, config.horizon)
        if not len(val):
            raise UserError(
                f"{name} needs windows to stop by: give fit a val_size of at least "
                f"{2 * config.horizon}, twice the horizon"
            )
        with tempfile.TemporaryDirectory() as folder:
            options = RunOptions(out=folder, seed=self.seed, quiet=True)
            fit(
                model, fit_of(name, config.fits), train, val, config.trainer,
                RunDirectory(folder), options,
            )  # fmt: skip

    def _calibrate(self, name: Name, parts: PanelParts, values: Tensor) -> None:
        config = self.config
        starts = parts.starts("calibration", config.context, config.horizon)
        windows = Windows(values, torch.from_numpy(starts), config.context, config.horizon)
        errors = np.empty((len(windows), config.horizon))
        with torch.no_grad():
            done = 0
            for x, y in windows.batches(SCORED_BATCH):
                found = (y - self.models[name](x)).abs()[..., 0]
                errors[done : done + len(x)] = found.double().numpy()
                done += len(x)
        owner = np.searchsorted(parts.panel.starts, starts, side="right") - 1
        self.conformal[name] = Conformal(errors, owner)

    def _forecasts(
        self,
        panel: Panel,
        scale: SeriesScale,
        owner: Int64[np.ndarray, " windows"],
        stops: Int64[np.ndarray, " windows"],
        level: Sequence[float | int],
    ) -> dict[str, Float64[np.ndarray, "windows horizon"]]:
        """Every column, in the series' own units: what follows series `owner` from row `stops`."""
        contexts = self._contexts(panel, scale, owner, stops)
        known = self._places(panel)
        mean, std = scale.mean[owner, None], scale.std[owner, None]
        columns: dict[str, Float64[np.ndarray, "windows horizon"]] = {}
        for name, model in self.models.items():
            forecast = _run(model, contexts)
            columns[name] = forecast * std + mean
            for one in level:
                widths = self._widths(name, one, known)[owner] * std
                columns[f"{name}-lo-{one:g}"] = columns[name] - widths
                columns[f"{name}-hi-{one:g}"] = columns[name] + widths
        return columns

    def _widths(
        self, name: Name, level: float | int, known: Int64[np.ndarray, " series"]
    ) -> np.ndarray:
        """Half-widths in units of each series' deviation; unseen series take the pooled ones."""
        assert self.panel is not None
        own = self.conformal[name].widths(level, len(self.panel))
        pooled = replace(self.conformal[name], series=None).widths(level, 1)
        return np.where(known[:, None] >= 0, own[np.maximum(known, 0)], pooled)

    def _contexts(
        self,
        panel: Panel,
        scale: SeriesScale,
        owner: Int64[np.ndarray, " windows"],
        stops: Int64[np.ndarray, " windows"],
    ) -> Float[Tensor, "windows context 1"]:
        length, starts = self.config.context, panel.starts[owner]
        short = np.unique(owner[stops - starts < length])
        if len(short) and self.config.pad == "error":
            listed = ", ".join(str(panel.ids[place]) for place in short[:5])
            raise UserError(
                f"{len(short)} series have fewer than the {length} rows of context: {listed}"
                f"{', ...' if len(short) > 5 else ''}; shorten context, or set pad to edge"
            )
        if len(none := owner[stops <= starts]):
            raise UserError(f"series {panel.ids[none[0]]} has no row before the cutoff")
        rows = np.maximum(stops[:, None] + np.arange(-length, 0), starts[:, None])
        values = scale.scaled(panel)[rows]
        return torch.from_numpy(values).float()[..., None]

    def _places(self, panel: Panel) -> Int64[np.ndarray, " series"]:
        """Number of each series in `fit`, -1 where it was not there."""
        assert self.panel is not None
        known = {series: place for place, series in enumerate(self.panel.ids.tolist())}
        return np.array([known.get(series, -1) for series in panel.ids.tolist()], dtype=np.int64)

    def _scale_of(self, panel: Panel) -> SeriesScale:
        """Of `fit` where a series was there, else of the rows given."""
        _, fitted = self._fitted()
        own, known = SeriesScale.fit(panel, panel.starts[1:]), self._places(panel)
        seen, place = known >= 0, np.maximum(known, 0)
        return SeriesScale(
            np.where(seen, fitted.mean[place], own.mean), np.where(seen, fitted.std[place], own.std)
        )

    def _fitted(self) -> tuple[Panel, SeriesScale]:
        if self.panel is None or self.scale is None:
            raise UserError("nothing was fitted yet: call fit first")
        return self.panel, self.scale

    def _read(self, frame: pd.DataFrame) -> Panel:
        return read_panel(frame, self.layout(frame), self.config.freq, fill=self.config.fill)

    def _framed(
        self,
        panel: Panel,
        owner: Int64[np.ndarray, " windows"],
        times: pd.DatetimeIndex,
        columns: dict[str, np.ndarray],
    ) -> pd.DataFrame:
        layout = panel.layout
        frame: dict[str, Any] = {
            layout.id: np.repeat(panel.ids[owner], self.config.horizon), layout.time: times,
        }  # fmt: skip
        return pd.DataFrame(frame | {name: cells.ravel() for name, cells in columns.items()})

    def _compared(
        self,
        panel: Panel,
        owner: Int64[np.ndarray, " windows"],
        stops: Int64[np.ndarray, " windows"],
        columns: dict[str, np.ndarray],
    ) -> pd.DataFrame:
        rows = stops[:, None] + np.arange(self.config.horizon)
        frame = self._framed(panel, owner, panel.stamps[rows.ravel()], columns)
        frame.insert(2, "cutoff", panel.stamps[np.repeat(stops - 1, self.config.horizon)])
        frame.insert(3, panel.layout.target, panel.values[rows].ravel())
        return frame


def _run(
    model: nn.Module, contexts: Float[Tensor, "windows context 1"]
) -> Float64[np.ndarray, "windows horizon"]:
    with torch.no_grad():
        parts = [model(part)[..., 0] for part in contexts.split(SCORED_BATCH)]
    found: Float64[np.ndarray, "windows horizon"] = torch.cat(parts).double().numpy()
    return found


def _before(panel: Panel, stops: Int64[np.ndarray, " series"]) -> Panel:
    """The rows before each series' stop.

    Raises:
        UserError: A series without any.
    """
    empty = np.flatnonzero(stops <= panel.starts[:-1])
    if len(empty):
        raise UserError(
            f"series {panel.ids[empty[0]]} has {int(panel.lengths[empty[0]])} rows, none before "
            "the first cutoff: ask for fewer windows, or leave it out"
        )
    kept = np.concatenate(
        [np.arange(first, stop) for first, stop in zip(panel.starts[:-1], stops, strict=True)]
    )
    starts = np.append(0, np.cumsum(stops - panel.starts[:-1]))
    return replace(
        panel, starts=starts, values=panel.values[kept], stamps=panel.stamps[kept],
        past=panel.past[kept], future=panel.future[kept],
    )  # fmt: skip
