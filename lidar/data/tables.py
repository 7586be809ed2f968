"""What a reader knows of a data set before any point is read: times, poses, files, boxes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from foretell.errors import UserError
from lidar.data.structures import SensorSpec

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
        rotation = poses[:, :3, :3]
        error = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(axis=(1, 2))
        valid = np.isfinite(poses).all(axis=(1, 2)) & (error < 0.01)
        valid &= np.linalg.det(np.where(np.isfinite(rotation), rotation, 0.0)) > 0
        if not valid.all():
            raise UserError(
                f"{where}: the pose of sweep {int(np.argmin(valid))} is not a rigid motion "
                "(NaN, or a rotation that is not orthonormal); correct the pose table"
            )
