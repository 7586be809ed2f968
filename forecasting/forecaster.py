"""Several models over many series: fit, predict the real future, backtest, save, load.

    f = Forecaster(models=["ridge", DLinearConfig()], horizon=24, context=96, freq="h")
    f.fit(df, val_size=480)
    f.predict(level=[80, 95])

Frames are long; what comes out has the columns' names that went in. Series are scaled one by one
by their training rows, other columns over all series; models are shared by all series and work on
series unseen in `fit`, scaled by the rows that they come with. Predicting is deterministic.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64
from torch import nn

from forecasting.config import Name
from forecasting.data.future_rows import with_future
from forecasting.data.panel import Layout, Panel, read_panel, recognise, row_ranges
from forecasting.fitted import Fitted
from forecasting.forecaster_config import ForecasterConfig, forecaster_config
from forecasting.intervals import Conformal, check_levels
from forecasting.panel_fit import fit_panel
from forecasting.saved_forecaster import read_forecaster, write_forecaster
from foretell.errors import UserError

OWN_COLUMNS = ("cutoff", "part", "recursive")
"""Of what comes out, beside the models'."""


class Forecaster:
    """Fitted models and what predicting needs.

    Args:
        config: Models, horizon, context, frequency, columns.
        seed: Of weights and the order of windows.
        **settings: Instead of `config` its fields; `models` also as configurations.

    Raises:
        ValueError: Both, or neither.
        UserError: A field that there is not.
    """

    def __init__(
        self, config: ForecasterConfig | None = None, *, seed: int = 0, **settings: Any
    ) -> None:
        if (config is None) == (not settings):
            raise ValueError("give a ForecasterConfig, or its fields such as models and horizon")
        self.config = forecaster_config(**settings) if config is None else config
        self.seed = seed
        self.fitted: Fitted | None = None

    def fit(self, df: pd.DataFrame, *, val_size: int = 0) -> "Forecaster":
        """Train every model.

        Args:
            df: Long, rows in any order.
            val_size: Rows at the end of each series that are not trained on: the first half stops
                training, the second calibrates the intervals. 0 = neither; networks then train all
                their epochs.

        Raises:
            UserError: Broken frames; no training window; networks without a window to stop by;
                columns that a model cannot use.
        """
        self._fit(self._read(df), val_size)
        return self

    def predict(
        self,
        df: pd.DataFrame | None = None,
        *,
        future_df: pd.DataFrame | None = None,
        horizon: int | None = None,
        level: Sequence[float | int] | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """The steps that follow each series.

        Args:
            df: Series to forecast, seen in `fit` or not; none = those of `fit`.
            future_df: The next rows of the columns known ahead.
            horizon: Steps; none = as trained. Beyond that forecasts are fed back in whole
                horizons, and a column `recursive` marks their rows.
            level: Percents of the intervals, such as [80, 95].
            quantiles: Of those trained for; none = all.

        Returns:
            Series, time, then for each model its forecast, `<model>-lo-80` and `<model>-hi-80` of
            a level, `<model>-q10` of a quantile; series times horizon rows.

        Raises:
            UserError: Before `fit`, series shorter than the context, too few calibration windows,
                intervals or past columns beyond the trained horizon, a quantile not trained for.
        """
        fitted, levels = self._known(), list(level or ())
        check_levels(levels)
        panel = fitted.panel if df is None else self._read(df)
        scale = fitted.scale if df is None else fitted.scale_of(panel)
        steps = self.config.horizon if horizon is None else horizon
        rounds = self._rounds(steps, levels)
        self._check_lengths(panel, panel.starts[1:])
        whole, starts = with_future(panel, self.config.horizon * rounds, future_df)
        columns = fitted.forecasts(
            whole, scale, starts, np.arange(len(panel)), levels, quantiles, rounds
        )
        times = panel.future_stamps(steps)
        frame: dict[str, Any] = {
            panel.layout.id: np.repeat(panel.ids, steps), panel.layout.time: times,
        }  # fmt: skip
        frame |= {name: cells[:, :steps].ravel() for name, cells in columns.items()}
        if rounds > 1:
            frame["recursive"] = np.tile(np.arange(steps) >= self.config.horizon, len(panel))
        return pd.DataFrame(frame)

    def cross_validation(
        self,
        df: pd.DataFrame,
        *,
        n_windows: int = 1,
        step_size: int | None = None,
        val_size: int = 0,
        test_size: int | None = None,
        refit: bool = False,
        level: Sequence[float | int] | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Forecasts of the last windows of every series, beside what came.

        Args:
            df: Long.
            n_windows: Cutoffs, the last one horizon before the end.
            step_size: Steps between two; none = the horizon.
            val_size: As in `fit`.
            test_size: Rows at the end to fill with windows, instead of `n_windows`.
            refit: Fit anew before every cutoff; off = once, before the first.
            level: As in `predict`.
            quantiles: As in `predict`.

        Returns:
            Series, time, cutoff, the target, then the models' columns.

        Raises:
            UserError: Series too short for that.
        """
        levels, horizon = list(level or ()), self.config.horizon
        check_levels(levels)
        step = step_size or horizon
        if test_size is not None:
            n_windows = (test_size - horizon) // step + 1
        if n_windows < 1 or step < 1:
            raise UserError(
                f"n_windows and step_size must be at least 1, got {n_windows}, {step}; test_size "
                "must hold a horizon"
            )
        panel, found = self._read(df), []
        back = horizon + step * np.arange(n_windows - 1, -1, -1)
        stops = panel.starts[1:] - back[:, None]  # [cutoffs, series]
        for group in stops[:, None] if refit else stops[None]:
            known = _before(panel, group[0])
            self._check_lengths(panel, group[0])
            fitted = self._fit(known, val_size)
            owner, starts = np.tile(np.arange(len(panel)), len(group)), group.ravel()
            columns = fitted.forecasts(panel, fitted.scale, starts, owner, levels, quantiles)
            found.append(self._compared(panel, starts, owner, columns))
        layout = panel.layout
        return pd.concat(found).sort_values([layout.id, "cutoff", layout.time], ignore_index=True)

    def explain(self, df: pd.DataFrame | None = None, *, words: int = 5) -> pd.DataFrame:
        """Anchors, cosines and nearest words of every series; see `forecasting.explain`.

        Raises:
            UserError: No s2ip among the models, broken or too short series.
        """
        from forecasting.explain import explain

        return explain(self, df, words=words)

    def predict_insample(self, *, step_size: int | None = None) -> pd.DataFrame:
        """Forecasts inside the series of `fit`, beside what came.

        Args:
            step_size: Steps between two cutoffs, the first one a context behind a series' start;
                none = the horizon.

        Returns:
            As `cross_validation`, and `part`: whether the window taught (train), stopped training
            (val), calibrated intervals (calibration), or reaches across parts (across).

        Raises:
            UserError: Before `fit`, after `load` (the series are not kept), no window.
        """
        fitted, config = self._known(), self.config
        if fitted.parts is None:
            raise UserError(
                "predict_insample needs the series of fit, which a loaded forecaster does not "
                "keep: fit first, or use cross_validation"
            )
        panel, step = fitted.panel, step_size or config.horizon
        stops = panel.starts[1:] - config.horizon + 1
        counts = np.maximum(-(-(stops - panel.starts[:-1] - config.context) // step), 0)
        owner = np.repeat(np.arange(len(panel)), counts)
        place = row_ranges(np.zeros(len(panel), dtype=np.int64), counts)
        starts = panel.starts[owner] + config.context + step * place
        if not len(starts):
            raise UserError(f"no series has {config.context} + {config.horizon} rows")
        columns = fitted.forecasts(panel, fitted.scale, starts, owner, [], [])
        found = self._compared(panel, starts, owner, columns)
        parts = fitted.parts.part_of(starts, owner, config.horizon)
        found["part"] = np.repeat(parts, config.horizon)
        return found

    @property
    def models(self) -> Mapping[Name, nn.Module]:
        """The fitted models, in eval mode."""
        return self._known().models

    @property
    def conformal(self) -> Mapping[Name, Conformal]:
        """Errors of the models on the calibration windows, scaled."""
        return self._known().conformal

    def layout(self, df: pd.DataFrame | None) -> Layout:
        """Which column is what, in a frame or in that of `fit`."""
        if df is None:
            return self._known().panel.layout
        config = self.config
        found = recognise(
            df, id_col=config.id_col, time_col=config.time_col, target_col=config.target_col,
            static_cols=config.static_cols, past_cols=config.past_cols,
            future_cols=config.future_cols,
        )  # fmt: skip
        taken = {found.id, found.time, found.target} & {*config.models, *OWN_COLUMNS}
        if taken:
            raise UserError(
                f"column {min(taken)} has the name of a column of forecasts: rename it in the frame"
            )
        return found

    def history(self, df: pd.DataFrame | None) -> pd.DataFrame:
        """The values that forecasts follow: the frame's, or the last ones of `fit`."""
        if df is not None:
            return df
        panel = self._known().panel
        return pd.DataFrame({
            panel.layout.id: np.repeat(panel.ids, panel.lengths),
            panel.layout.time: panel.stamps, panel.layout.target: panel.values,
        })  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write configuration, trained tensors and the rows that predicting needs; no pickle.

        Raises:
            UserError: Before `fit`, or an unwritable folder.
        """
        write_forecaster(Path(folder), self._known())

    @classmethod
    def load(cls, folder: str | Path, *, backbone: str | None = None) -> "Forecaster":
        """Read what `save` wrote.

        Args:
            folder: Written by `save`.
            backbone: Where the language model is now; none = where it was.

        Raises:
            UserError: No forecaster there, keys that do not fit, another language model.
        """
        fitted = read_forecaster(Path(folder), backbone=backbone)
        found = cls(fitted.config)
        found.fitted = fitted
        return found

    def _fit(self, panel: Panel, val_size: int) -> Fitted:
        self.fitted = fit_panel(panel, self.config, val_size=val_size, seed=self.seed)
        return self.fitted

    def _rounds(self, steps: int, level: Sequence[float | int]) -> int:
        """Horizons that make up so many steps."""
        config, rounds = self.config, math.ceil(steps / self.config.horizon)
        if steps < 1:
            raise UserError(f"horizon must be at least 1, got {steps}")
        if rounds > 1 and level:
            raise UserError(
                f"intervals were calibrated for {config.horizon} steps, {steps} are asked for: "
                "train with that horizon, or drop level"
            )
        if rounds > 1 and config.past_cols:
            raise UserError(
                f"past_cols ({', '.join(config.past_cols)}) are unknown beyond the trained horizon "
                f"of {config.horizon} steps, {steps} are asked for: train with that horizon"
            )
        return rounds

    def _check_lengths(self, panel: Panel, stops: Int64[np.ndarray, " series"]) -> None:
        """Refuse series that have fewer rows than the context before their stop."""
        length = self.config.context
        short = np.flatnonzero(stops - panel.starts[:-1] < length)
        if len(short) and self.config.pad == "error":
            listed = ", ".join(str(panel.ids[place]) for place in short[:5])
            raise UserError(
                f"{len(short)} series have fewer than the {length} rows of context: {listed}"
                f"{', ...' if len(short) > 5 else ''}; shorten context, or set pad to edge"
            )

    def _known(self) -> Fitted:
        if self.fitted is None:
            raise UserError("nothing was fitted yet: call fit first")
        return self.fitted

    def _read(self, df: pd.DataFrame) -> Panel:
        return read_panel(df, self.layout(df), self.config.freq, fill=self.config.fill)

    def _compared(
        self,
        panel: Panel,
        starts: Int64[np.ndarray, " windows"],
        owner: Int64[np.ndarray, " windows"],
        columns: dict[str, np.ndarray],
    ) -> pd.DataFrame:
        horizon = self.config.horizon
        rows = (starts[:, None] + np.arange(horizon)).ravel()
        layout = panel.layout
        frame: dict[str, Any] = {
            layout.id: np.repeat(panel.ids[owner], horizon), layout.time: panel.stamps[rows],
            "cutoff": panel.stamps[np.repeat(starts - 1, horizon)],
            layout.target: panel.values[rows],
        }  # fmt: skip
        return pd.DataFrame(frame | {name: cells.ravel() for name, cells in columns.items()})


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
    return panel.keep(panel.starts[:-1], stops)
