"""Split conformal intervals: quantiles of absolute errors on windows that taught nothing.

For each step of the horizon the half-width at level 1 - a is the ceil((n + 1)(1 - a))-th smallest
of n errors. If windows were exchangeable, coverage would be at least 1 - a; they overlap and the
world drifts, so coverage is approximate, and is measured. Per series where n allows, else pooled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from foretell.errors import UserError


def windows_needed(level: float | int) -> int:
    """Fewest errors for a finite interval: (n + 1)(1 - a) <= n.

    Example:
        >>> windows_needed(80), windows_needed(95)
        (4, 19)
    """
    share = level / 100
    return math.ceil(round(share / (1 - share), 9))


def conformal_width(
    errors: Float64[np.ndarray, "windows horizon"], level: float | int
) -> Float64[np.ndarray, " horizon"]:
    """Half-width of each step.

    Args:
        errors: Absolute errors of one series, or of all pooled.
        level: Percent.

    Raises:
        ValueError: A level outside (0, 100), or too few windows.
    """
    if not 0 < level < 100:
        raise ValueError(f"level must lie between 0 and 100 percent, got {level}")
    count, needed = len(errors), windows_needed(level)
    if count < needed:
        raise ValueError(f"an interval of {level:g} % needs {needed} windows, got {count}")
    rank = math.ceil(round((count + 1) * level / 100, 9))
    widths: Float64[np.ndarray, " horizon"] = np.sort(errors, axis=0)[rank - 1]
    return widths


@dataclass(frozen=True)
class Conformal:
    """Errors on calibration windows, from which every level's widths follow; O(n H) memory."""

    errors: Float64[np.ndarray, "windows horizon"]
    """Absolute, of all series."""
    series: Int64[np.ndarray, " windows"] | None = None
    """Whose each window is, ascending; none = pooled."""

    def widths(self, level: float | int, num_series: int) -> Float64[np.ndarray, "series horizon"]:
        """Half-widths of every series.

        Raises:
            UserError: Too few windows, even pooled.
        """
        needed = windows_needed(level)
        if len(self.errors) < needed:
            raise UserError(
                f"an interval of {level:g} % needs {needed} calibration windows, there are "
                f"{len(self.errors)}: give fit a larger val_size, or ask for a lower level"
            )
        pooled = conformal_width(self.errors, level)
        found = np.repeat(pooled[None], num_series, axis=0)
        if self.series is not None:
            borders = np.searchsorted(self.series, np.arange(num_series + 1))
            for place in np.flatnonzero(np.diff(borders) >= needed):
                own = self.errors[borders[place] : borders[place + 1]]
                found[place] = conformal_width(own, level)
        return found


@dataclass(frozen=True)
class IntervalScore:
    """How intervals of one level did."""

    level: float | int
    coverage: float
    """Share of values inside, percent."""
    width: float
    """Mean of upper minus lower."""
    pinball: float
    """Mean pinball loss of both bounds, quantiles (1 -+ level) / 2; lower is better."""


def score_intervals(
    y: Float64[np.ndarray, "*cells"],
    lower: Float64[np.ndarray, "*cells"],
    upper: Float64[np.ndarray, "*cells"],
    level: float | int,
) -> IntervalScore:
    """Coverage, width and pinball loss.

    Raises:
        ValueError: Nothing to score.
    """
    if not y.size:
        raise ValueError("no value to score an interval on")
    inside: Bool[np.ndarray, "*cells"] = (lower <= y) & (y <= upper)
    low, high = 0.5 - level / 200, 0.5 + level / 200
    loss = pinball(y, lower, low).mean() / 2 + pinball(y, upper, high).mean() / 2
    return IntervalScore(
        level, float(100 * inside.mean()), float((upper - lower).mean()), float(loss)
    )


def pinball(
    y: Float64[np.ndarray, "*cells"], forecast: Float64[np.ndarray, "*cells"], quantile: float
) -> Float64[np.ndarray, "*cells"]:
    """max(q (y - f), (q - 1)(y - f))."""
    error = y - forecast
    loss: NDArray[np.float64] = np.maximum(quantile * error, (quantile - 1) * error)
    return loss


def check_levels(levels: Sequence[float | int]) -> None:
    """Refuse levels that are no percentages.

    Raises:
        UserError: Outside (0, 100), or twice.
    """
    for level in levels:
        if not 0 < level < 100:
            raise UserError(f"level {level} must lie between 0 and 100 percent, such as 80")
    if len(set(levels)) < len(levels):
        raise UserError(f"level names something twice: {list(levels)}")
