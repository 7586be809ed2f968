"""Forecasting windows: a current sweep t0 and the sweeps that serve its horizons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.log_view import LogView


@dataclass(frozen=True)
class Window:
    """One t0 of a log and its future frames."""

    log: LogView
    t0: int
    """Sweep number in the view."""
    frames: tuple[int, ...]
    """Sweep numbers of the l horizons."""
    earliest: int
    """First sweep of the uninterrupted stretch around t0; history does not reach further back."""

    @property
    def name(self) -> str:
        """<log>/<sweep number in the whole log>."""
        return f"{self.log.name}/{self.log.sweep_offset + self.t0:06d}"

    @property
    def all_frames(self) -> tuple[int, ...]:
        """t0 and the horizons."""
        return (self.t0, *self.frames)


def find_windows(
    log: LogView,
    horizons_s: Sequence[float],
    *,
    gap_tol_s: float = 0.05,
    max_gap_s: float = 0.75,
    key_frames_only: bool = True,
    stride: int = 1,
) -> list[Window]:
    """All windows of a log, or of a part of it.

    A horizon is served by the nearest admissible sweep, if that is at most `gap_tol_s` off and so
    is the gap to the frame before it: one step of the recurrence. No window reaches across a pause
    longer than `max_gap_s`, nor out of the view.

    Args:
        log: The log.
        horizons_s: Seconds after t0, rising.
        gap_tol_s: Tolerance of a horizon and of the gap between consecutive frames.
        max_gap_s: Longest pause between consecutive sweeps of one stretch.
        key_frames_only: Take t0 and horizons from key frames alone.
        stride: Keep every n-th admissible t0.

    Raises:
        UserError: The horizons are not positive and rising.
    """
    if any(b <= a for a, b in zip([0.0, *horizons_s], horizons_s, strict=False)):
        raise UserError(f"data.horizons_s must be positive and rising, got {list(horizons_s)}")
    times = log.timestamps_ns
    stretch = np.concatenate([[0], np.cumsum(np.diff(times) > _nanoseconds(max_gap_s))])
    usable = np.flatnonzero(log.is_key) if key_frames_only else np.arange(len(times))
    if len(usable) == 0:
        return []
    valid = np.ones(len(usable), bool)
    frames = np.empty((len(usable), len(horizons_s)), np.int64)
    previous, previous_s, tolerance_ns = usable, 0.0, _nanoseconds(gap_tol_s)
    for column, horizon_s in enumerate(horizons_s):
        wanted = times[usable] + _nanoseconds(horizon_s)
        frame = usable[_nearest(times[usable], wanted)]
        gap_ns = _nanoseconds(horizon_s) - _nanoseconds(previous_s)
        valid &= np.abs(times[frame] - wanted) <= tolerance_ns
        valid &= np.abs(times[frame] - times[previous] - gap_ns) <= tolerance_ns
        valid &= (frame > previous) & (stretch[frame] == stretch[usable])
        frames[:, column] = previous = frame
        previous_s = horizon_s
    stretch_start = np.searchsorted(stretch, stretch)
    return [
        Window(log, int(usable[n]), tuple(int(f) for f in frames[n]), int(stretch_start[usable[n]]))
        for n in np.flatnonzero(valid)[::stride]
    ]


def windows_of(
    logs: Sequence[LogView],
    config: DataConfig,
    horizons_s: Sequence[float],
    *,
    left_out: str = "",
) -> list[Window]:
    """Windows of several logs under one configuration.

    Args:
        logs: Where to look.
        config: Tolerances, pauses, key frames and stride.
        horizons_s: Seconds after t0, rising.
        left_out: What the data set lacks (`Dataset.left_out`), for the message.

    Raises:
        UserError: There is none; says how long the logs are, what was asked and what is missing.
    """
    windows = [
        window
        for log in logs
        for window in find_windows(
            log,
            horizons_s,
            gap_tol_s=config.gap_tol,
            max_gap_s=config.max_gap_s,
            key_frames_only=config.key_frames_only,
            stride=config.window_stride,
        )
    ]
    if windows:
        return windows
    names = ", ".join(log.name for log in logs[:3]) + (", ..." if len(logs) > 3 else "")
    raise UserError(
        f"no forecasting window in {len(logs)} log(s) ({names or 'none selected'}) of "
        f"{config.root}: the longest stretch without a pause above {config.max_gap_s:g} s lasts "
        f"{_longest_stretch_s(logs, config.max_gap_s):.2f} s, the horizons are "
        f"{', '.join(f'{h:g}' for h in horizons_s)} s within {config.gap_tol:g} s; take longer "
        "logs or change data.horizons_s, data.frame_gap_s, data.gap_tol or data.max_gap_s"
        + (f". Missing under {config.root}: {left_out}" if left_out else "")
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _nearest(
    times: Int64[ndarray, " times"], wanted: Int64[ndarray, " wanted"]
) -> Int64[ndarray, " wanted"]:
    """Position of the nearest time; the earlier of two equally near."""
    right = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(times[left] - wanted) <= np.abs(times[right] - wanted), left, right)


def _longest_stretch_s(logs: Sequence[LogView], max_gap_s: float) -> float:
    longest = 0.0
    for log in logs:
        times = log.timestamps_ns
        cuts = np.flatnonzero(np.diff(times) > _nanoseconds(max_gap_s)) + 1
        for part in np.split(times, cuts):
            longest = max(longest, 1e-9 * float(part[-1] - part[0]))
    return longest
