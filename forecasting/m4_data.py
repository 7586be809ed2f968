"""M4 series ready for training: the end of every training series held out, windows, forecasts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import nn

from forecasting.data.m4 import M4Series, read_m4, read_m4_train
from forecasting.data.m4_windows import Cut, RandomCuts, Scaling, SeriesCuts
from forecasting.fit import forecast_contexts
from forecasting.m4_config import M4Config
from foretell.errors import UserError

PUBLISHED_HISTORY = {"yearly": 1.5, "quarterly": 1.5, "monthly": 1.5}
OTHER_HISTORY = 10.0
"""Horizons, of the release's loader."""
CONTEXT_HORIZONS = 2


@dataclass(frozen=True)
class M4Data:
    """Series of a frequency; the last H training values are validation, never taught."""

    series: M4Series
    context: int
    """L."""
    history: float
    """Horizons in which training windows are cut."""
    scaling: Scaling

    @property
    def taught(self) -> tuple[Float64[np.ndarray, " _"], ...]:
        """Of every series the values before validation."""
        return tuple(row[: -self.series.horizon] for row in self.series.train)

    @property
    def held(self) -> tuple[Float64[np.ndarray, " horizon"], ...]:
        """Of every series the validation values."""
        return tuple(row[-self.series.horizon :] for row in self.series.train)

    def part(
        self, part: str
    ) -> tuple[tuple[Float64[np.ndarray, " _"], ...], tuple[Float64[np.ndarray, " horizon"], ...]]:
        """What is known and what is to be forecast, in val or test."""
        if part == "val":
            return self.taught, self.held
        return self.series.train, self.series.test

    def training_cuts(self) -> SeriesCuts:
        """Windows of the taught values alone."""
        return self._cuts(self.taught)

    def random_cuts(self, per_series: int, seed: int) -> RandomCuts:
        """Training windows, new ones in every epoch."""
        return RandomCuts(
            self.training_cuts(), history=self.history, per_series=per_series, seed=seed
        )

    def last_cut(self, part: str) -> Cut:
        """The window of every series whose target is that of val or test."""
        return self._cuts(self.series.train).last(self.series.horizon if part == "val" else 0)

    def _cuts(self, values: Sequence[Float64[np.ndarray, " _"]]) -> SeriesCuts:
        series = self.series
        return SeriesCuts(
            values, self.context, series.horizon, scaling=self.scaling, season=series.season
        )

    def forecasts(self, network: nn.Module, part: str) -> list[Float64[np.ndarray, " horizon"]]:
        """Of every series, in its own unit."""
        cut = self.last_cut(part)
        found = forecast_contexts(network, cut.x).double() * cut.scale
        return list(found[..., 0].numpy())

    def fingerprint(self, part: str) -> str:
        """Of the values that a row of some part depends on."""
        digest = hashlib.sha256()
        for row in (*self.series.train, *(self.series.test if part == "test" else ())):
            digest.update(row.tobytes() + b"|")
        return digest.hexdigest()


def read_m4_data(config: M4Config) -> M4Data:
    """Read the files; the test only where it is scored.

    Raises:
        UserError: See `read_m4`; a series too short to hold a horizon out, or without a scale.
    """
    data = config.data
    if not data.train:
        raise UserError("--data.train is missing: a training file of M4, such as Hourly-train.csv")
    frequency = None if data.frequency == "auto" else data.frequency
    if "test" in config.parts:
        series = read_m4(data.train, test=data.test or None, frequency=frequency)
    else:
        series = read_m4_train(data.train, frequency=frequency)
    _check(series)
    history = config.history or PUBLISHED_HISTORY.get(series.frequency, OTHER_HISTORY)
    context = config.context or CONTEXT_HORIZONS * series.horizon
    if config.scaling == "season" and context <= series.season:
        raise UserError(
            f"--scaling season needs a context above the season, {series.season}, got {context}"
        )
    return M4Data(series, context, history, config.scaling)


def _check(series: M4Series) -> None:
    horizon, season = series.horizon, series.season
    needed = horizon + max(2, season + 1)
    for name, row in zip(series.ids, series.train, strict=True):
        if len(row) < needed:
            raise UserError(
                f"series {name} has {len(row)} training values, {series.frequency} needs {needed}: "
                f"{horizon} to validate by and more than a season before them; leave it out"
            )
        seen = row[:-horizon]
        if np.array_equal(seen[season:], seen[:-season]):
            raise UserError(
                f"series {name} repeats with season {season} until validation, so that MASE has "
                "no scale: leave it out"
            )
