"""Fitted models with what forecasting needs beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from torch import nn

from forecasting.config import Name
from forecasting.data.covariates import CovariateScale
from forecasting.data.panel import Panel
from forecasting.forecaster_config import ForecasterConfig
from forecasting.intervals import Conformal
from forecasting.panel_data import PanelParts, PanelTable, SeriesScale
from forecasting.panel_forecast import forecast_windows
from foretell.errors import UserError


@dataclass(frozen=True)
class Fitted:
    """What `Forecaster.fit` leaves."""

    config: ForecasterConfig
    models: dict[Name, nn.Module]
    """In eval mode."""
    conformal: dict[Name, Conformal]
    """Errors on calibration windows, scaled."""
    panel: Panel
    """The series of `fit`; after loading their last rows."""
    scale: SeriesScale
    columns: CovariateScale | None
    """Of declared columns."""
    parts: PanelParts | None
    """Which rows taught; none after loading."""

    def forecasts(
        self,
        panel: Panel,
        scale: SeriesScale,
        starts: Int64[np.ndarray, " windows"],
        owner: Int64[np.ndarray, " windows"],
        level: Sequence[float | int],
        quantiles: Sequence[float] | None,
        rounds: int = 1,
    ) -> dict[str, Float64[np.ndarray, "windows steps"]]:
        """Every column of every window, in the series' own units."""
        config, table = self.config, PanelTable(panel, scale, self.columns)
        std, mean = scale.std[owner][:, None], scale.mean[owner][:, None]
        wanted = self._quantile_places(quantiles)
        known = self.places(panel)
        columns: dict[str, Float64[np.ndarray, "windows steps"]] = {}
        for name, model in self.models.items():
            found = forecast_windows(
                model, table, starts, owner, context=config.context, horizon=config.horizon,
                rounds=rounds,
            )  # fmt: skip
            columns[name] = found.point * std + mean
            for one in level:
                widths = self._widths(name, one, known)[owner] * std
                columns[f"{name}-lo-{one:g}"] = columns[name] - widths
                columns[f"{name}-hi-{one:g}"] = columns[name] + widths
            if found.quantiles is not None:
                for place in wanted:
                    label = f"{name}-q{100 * config.quantiles[place]:g}"
                    columns[label] = found.quantiles[..., place] * std + mean
        return columns

    def scale_of(self, panel: Panel) -> SeriesScale:
        """Of `fit` where a series was there, else of the rows given."""
        own, known = SeriesScale.fit(panel, panel.starts[1:]), self.places(panel)
        seen, place = known >= 0, np.maximum(known, 0)
        return SeriesScale(
            np.where(seen, self.scale.mean[place], own.mean),
            np.where(seen, self.scale.std[place], own.std),
        )

    def places(self, panel: Panel) -> Int64[np.ndarray, " series"]:
        """Number of each series in `fit`, -1 where it was not there."""
        ids = self.panel.ids.tolist()
        known = {series: place for place, series in enumerate(ids)}
        return np.array([known.get(series, -1) for series in panel.ids.tolist()], dtype=np.int64)

    def _quantile_places(self, quantiles: Sequence[float] | None) -> list[int]:
        own = self.config.quantiles
        for one in quantiles or ():
            if one not in own:
                raise UserError(
                    f"quantile {one} was not trained for; there are {own or 'none'}: name it in "
                    "quantiles before fit"
                )
        return [own.index(one) for one in (own if quantiles is None else quantiles)]

    def _widths(
        self, name: Name, level: float | int, known: Int64[np.ndarray, " series"]
    ) -> np.ndarray:
        """Half-widths in units of each series' deviation; unseen series take the pooled ones."""
        own = self.conformal[name].widths(level, len(self.panel))
        pooled = replace(self.conformal[name], series=None).widths(level, 1)
        return np.where(known[:, None] >= 0, own[np.maximum(known, 0)], pooled)
