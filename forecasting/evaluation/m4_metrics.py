"""sMAPE, MASE and OWA as the M4 competition defines them, and its benchmark Naive2.

Per series: sMAPE = 200/H sum |y - f| / (|y| + |f|) in percent, 0/0 = 0. MASE = mean |y - f| over
the mean of |y_t - y_(t-m)| inside the training values. Both are averaged over series. OWA = half
the sum of both means over those of Naive2. Lower is better. The S2IP-LLM paper prints the MASE's
scale over the horizon, which is not what the competition or its numbers are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

CRITICAL = 1.645
"""Of the test at 90 % whether a series is seasonal."""


class M4Scores(NamedTuple):
    """Means over series."""

    smape: float
    """Percent."""
    mase: float
    owa: float


def smape(y: Float64[np.ndarray, " horizon"], forecast: Float64[np.ndarray, " horizon"]) -> float:
    """Of one series, in percent."""
    size = np.abs(y) + np.abs(forecast)
    error = np.abs(y - forecast)
    return float(200 * np.mean(np.divide(error, size, out=np.zeros_like(error), where=size > 0)))


def mase(
    y: Float64[np.ndarray, " horizon"],
    forecast: Float64[np.ndarray, " horizon"],
    train: Float64[np.ndarray, " seen"],
    season: int,
) -> float:
    """Of one series.

    Raises:
        ValueError: The training values repeat with the season, so that there is no scale.
    """
    if len(train) <= season:
        raise ValueError(f"MASE with season {season} needs more than {season} values")
    scale = np.mean(np.abs(train[season:] - train[:-season]))
    if scale == 0:
        raise ValueError(f"MASE has no scale: the values repeat with season {season}")
    return float(np.mean(np.abs(y - forecast)) / scale)


def m4_scores(
    test: Sequence[Float64[np.ndarray, " _"]],
    forecasts: Sequence[Float64[np.ndarray, " _"]],
    train: Sequence[Float64[np.ndarray, " _"]],
    season: int,
) -> M4Scores:
    """Means over series, and OWA against Naive2 of the same series.

    Raises:
        ValueError: No series.
    """
    if not len(test):
        raise ValueError("no series to score")
    found = _means(test, forecasts, train, season)
    base = _means(
        test, [naive2(row, len(y), season) for row, y in zip(train, test, strict=True)], train,
        season,
    )  # fmt: skip
    return M4Scores(*found, (found[0] / base[0] + found[1] / base[1]) / 2)


def naive2(
    train: Float64[np.ndarray, " seen"], horizon: int, season: int
) -> Float64[np.ndarray, " horizon"]:
    """The last value, seasonally adjusted where the series passes the test for a season.

    Indices of the classical multiplicative decomposition, as the competition's code: ratios to the
    centred moving average, averaged by phase, scaled to a mean of 1.
    """
    if not is_seasonal(train, season):
        return np.full(horizon, train[-1])
    index = seasonal_indices(train, season)
    phase = np.arange(len(train), len(train) + horizon) % season
    adjusted: NDArray[np.float64] = train[-1] / index[(len(train) - 1) % season] * index[phase]
    return adjusted


def is_seasonal(train: Float64[np.ndarray, " seen"], season: int) -> bool:
    """|r_m| > 1.645 sqrt((1 + 2 sum_{k<m} r_k^2) / n), with at least three seasons of values."""
    n = len(train)
    if season < 2 or n < 3 * season:
        return False
    centred = train - train.mean()
    total = np.sum(centred**2)
    if total == 0:
        return False
    r = np.array([np.sum(centred[k:] * centred[: n - k]) for k in range(1, season + 1)]) / total
    limit = CRITICAL * np.sqrt((1 + 2 * np.sum(r[:-1] ** 2)) / n)
    return bool(abs(r[-1]) > limit)


def seasonal_indices(
    train: Float64[np.ndarray, " seen"], season: int
) -> Float64[np.ndarray, " season"]:
    """Mean ratio of each phase to the centred moving average (2 x m where m is even)."""
    weights = np.full(season, 1 / season)
    if season % 2 == 0:
        weights = np.convolve(weights, [0.5, 0.5])
    trend = np.convolve(train, weights, mode="valid")
    lost = len(weights) // 2
    ratio = np.full(len(train), np.nan)
    ratio[lost : lost + len(trend)] = train[lost : lost + len(trend)] / trend
    by_phase = np.array([np.nanmean(ratio[phase::season]) for phase in range(season)])
    index: NDArray[np.float64] = by_phase / by_phase.mean()
    return index


def _means(
    test: Sequence[Float64[np.ndarray, " _"]],
    forecasts: Sequence[Float64[np.ndarray, " _"]],
    train: Sequence[Float64[np.ndarray, " _"]],
    season: int,
) -> tuple[float, float]:
    rows = list(zip(test, forecasts, train, strict=True))
    return (
        float(np.mean([smape(y, f) for y, f, _ in rows])),
        float(np.mean([mase(y, f, seen, season) for y, f, seen in rows])),
    )
