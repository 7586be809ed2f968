"""What a reader knows of a data set before any point is read: times, poses, files, boxes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from foretell.errors import UserError
from lidar.data.structures import SensorSpec
from lidar.geometry.se3 import is_rigid

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""


def no_progress(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True)
class BoxTable:
    """Annotated objects of one log, in the delivered LiDAR frame of their sweep."""

    sweep: Int64[ndarray, " boxes"]
    """Sweep number, ascending."""
    boxes: Float64[ndarray, "boxes 7"]
    """x y z l w h yaw."""
    velocity_mps: Float64[ndarray, "boxes 2"]
    """NaN where unknown."""
    category: tuple[str, ...]
    track_id: tuple[str, ...]
    num_points: Int64[ndarray, " boxes"]
    """-1 where unknown."""
    labelled: Bool[ndarray, " sweeps"]
    """Sweeps that were annotated, those without any object included."""


@dataclass(frozen=True)
class LogTable:
    """One uninterrupted recording: T sweeps of one LiDAR."""

    name: str
    timestamps_ns: Int64[ndarray, " sweeps"]
    global_SE3_ego: Float64[ndarray, "sweeps 4 4"]
    global_SE3_lidar: Float64[ndarray, "sweeps 4 4"]
    """In the delivered LiDAR axes."""
    is_key: Bool[ndarray, " sweeps"]
    files: tuple[str, ...]
    """Sweep files relative to the data set's root."""
    boxes: BoxTable | None = None
    class_files: tuple[str, ...] = ()
    """Per-point class files of the sweeps relative to the root, "" where there is none; () = none
    at all."""


@dataclass(frozen=True)
class Source:
    """Everything a reader found under a root."""

    logs: list[LogTable]
    sensor: SensorSpec
    columns: tuple[str, ...]
    """Columns of the points that a sweep file delivers (a ring column excluded)."""
    splits: dict[str, list[str]]
    """Split name to log names; only logs that were found."""
    skipped: list[str] = field(default_factory=list)
    """What was missing or left out, one line each."""


def nanoseconds(times_s: Float64[ndarray, " rows"], path: Path) -> Int64[ndarray, " rows"]:
    """Times in nanoseconds.

    Raises:
        UserError: One is NaN or beyond 64 bits (not seconds); names its row of the file `path`.
    """
    bad = np.flatnonzero(~(np.abs(times_s) < 9e9))
    if len(bad):
        raise UserError(
            f"{path}: row {int(bad[0]) + 1} is {times_s[bad[0]]:g}, no time in seconds "
            f"({len(bad)} such row(s)); correct it"
        )
    return np.asarray(np.rint(times_s * 1e9), np.int64)


def check_log(log: LogTable, root: Path) -> None:
    """Refuse times that do not rise, poses that are no rigid motion, and missing sweeps.

    Raises:
        UserError: One line with the log, the sweep number and the remedy.
    """
    where = f"log {log.name!r} under {root}"
    num_sweeps = len(log.timestamps_ns)
    if num_sweeps == 0:
        raise UserError(f"{where} has no sweep; remove the log or add its point files")
    bad = np.flatnonzero(np.diff(log.timestamps_ns) <= 0)
    if len(bad):
        first = int(bad[0])
        kind = "repeats" if log.timestamps_ns[first + 1] == log.timestamps_ns[first] else "precedes"
        raise UserError(
            f"{where}: the time of sweep {first + 1} {kind} that of sweep {first} "
            f"({len(bad)} such place(s)); times must rise strictly, correct the time table"
        )
    for poses in (log.global_SE3_ego, log.global_SE3_lidar):
        valid = is_rigid(poses)
        if not valid.all():
            raise UserError(
                f"{where}: the pose of sweep {int(np.argmin(valid))} is not a rigid motion "
                "(NaN, or a rotation that is not orthonormal); correct the pose table"
            )
