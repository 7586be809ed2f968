"""One log, or a part of it, as the index knows it: times and poses at once, sweeps on demand."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy import ndarray

from foretell.errors import UserError
from lidar.data.readers import read_sweep_file
from lidar.data.structures import Boxes, SensorSpec, Sweep
from lidar.geometry.se3 import invert, se3, wrap_angle

NEAR_EGO_M = 1.0
"""Returns with abs x and abs y below this are the carrier itself (nuScenes devkit, OpenPCDet)."""


class LabelAccessError(RuntimeError):
    """Code that must not see labels asked for them."""


class _Seen(NamedTuple):
    """A sweep and which of its returns are not the carrier."""

    points: Float32[ndarray, "all columns"]
    rows: Int64[ndarray, " points"]
    """Rows of `points` to keep."""


@dataclass(frozen=True)
class LogView:
    """Sweeps first..last of a log; sweep 0 of the view is `sweep_offset` of the whole log."""

    name: str
    kind: str
    root: Path
    sensor: SensorSpec
    """In the frame of the points that this view hands out."""
    point_columns: tuple[str, ...]
    arrays: Mapping[str, Any]
    """Index columns over the sweeps and boxes of all logs, memory-mapped."""
    categories: tuple[str, ...]
    first: int
    """First sweep of the view in the index."""
    last: int
    """End of the view in the index, excluded."""
    sweep_offset: int = 0
    """Number of the view's first sweep in the whole log."""
    points_R_delivered: Float64[ndarray, "3 3"] = dataclasses.field(
        default_factory=lambda: np.eye(3)
    )
    """Rotates delivered axes to those of the view (`data.frame`)."""
    labels: bool = True
    """Whether boxes may be read."""

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def frame(self) -> str:
        """Name of the frame of points and boxes, as in `Sweep`."""
        return "lidar_flu" if self._turned else "lidar"

    @property
    def _turned(self) -> bool:
        return not np.array_equal(self.points_R_delivered, np.eye(3))

    @property
    def timestamps_ns(self) -> Int64[ndarray, " sweeps"]:
        """Time of each sweep."""
        times_ns: Int64[ndarray, " sweeps"] = self._column("timestamps_ns")
        return times_ns

    @property
    def global_SE3_ego(self) -> Float64[ndarray, "sweeps 4 4"]:
        """Vehicle poses."""
        poses: Float64[ndarray, "sweeps 4 4"] = self._column("global_SE3_ego")
        return poses

    @cached_property
    def global_SE3_lidar(self) -> Float64[ndarray, "sweeps 4 4"]:
        """Sensor poses, in the axes of the points."""
        delivered: Float64[ndarray, "sweeps 4 4"] = self._column("global_SE3_lidar")
        poses: Float64[ndarray, "sweeps 4 4"] = delivered @ se3(
            self.points_R_delivered.T, np.zeros(3)
        )
        return poses

    def up(self, i: int) -> Float64[ndarray, "3"]:
        """The vehicle's z axis in the frame of sweep `i`'s points.

        A LiDAR is rarely mounted level: nuScenes' is pitched by 1.4 degrees, 1.2 m at 50 m.
        """
        ego_SE3_lidar = invert(self.global_SE3_ego[i]) @ self.global_SE3_lidar[i]
        return np.asarray(ego_SE3_lidar[2, :3])

    @property
    def is_key(self) -> Bool[ndarray, " sweeps"]:
        """Key frames; all sweeps where the data set marks none."""
        is_key: Bool[ndarray, " sweeps"] = self._column("is_key")
        return is_key

    @property
    def labelled(self) -> Bool[ndarray, " sweeps"]:
        """Sweeps with annotations."""
        labelled: Bool[ndarray, " sweeps"] = self._column("labelled")
        return labelled

    def cut(self, first: int, last: int) -> "LogView":
        """The sweeps first..last (excluded) of this view."""
        return dataclasses.replace(
            self,
            first=self.first + first,
            last=self.first + last,
            sweep_offset=self.sweep_offset + first,
        )

    def without_labels(self) -> "LogView":
        """The same log with its boxes out of reach."""
        return dataclasses.replace(self, labels=False)

    def sweep(self, i: int) -> Sweep:
        """Read sweep `i` of the view, in its own sensor frame.

        Raises:
            UserError: The file is missing or damaged.
        """
        self._check(i)
        raw, width = self._read(i), len(self.point_columns)
        return Sweep(
            points=raw[:, :width],
            columns=self.point_columns,
            timestamp_ns=int(self.timestamps_ns[i]),
            global_SE3_lidar=self.global_SE3_lidar[i],
            ring=raw[:, width].astype(np.int16) if raw.shape[1] > width else None,
            frame=self.frame,
            file=str(self._file(i)),
        )

    def accumulated(
        self,
        i: int,
        num_sweeps: int,
        stride: int = 1,
        *,
        earliest: int = 0,
        keep: Callable[[Float32[ndarray, "points 3"]], Bool[ndarray, " points"]] | None = None,
    ) -> Sweep:
        """Sweep `i` and earlier ones in sweep `i`'s frame, with a `dt` column and without rings.

        Own-car returns (abs x < 1 and abs y < 1) are dropped in the frame of the sweep that saw
        them. Where too few earlier sweeps exist the last available one repeats, dt as is.

        Args:
            i: Reference sweep.
            num_sweeps: Sweeps to join, the reference included.
            stride: Take every n-th earlier sweep.
            earliest: No sweep before this one is used (the start of the uninterrupted stretch).
            keep: Which returns to keep besides, from x y z in the frame of the sweep that saw them.
        """
        self._check(i)
        available, sources = i, []
        for n in range(num_sweeps):
            if i - n * stride >= earliest:
                available = i - n * stride
            sources.append(available)
        width, end = len(self.point_columns) + 1, 0
        joined: Float32[ndarray, "points columns"] = np.empty((0, width), np.float32)
        seen = self._without_own_car(i, keep)
        ref_SE3_source = invert(self.global_SE3_lidar[i]) @ self.global_SE3_lidar[sources]
        ref_SE3_source[np.equal(sources, i)] = np.eye(4)
        dt_s = 1e-9 * (self.timestamps_ns[i] - self.timestamps_ns[sources])
        for n, source in enumerate(sources):
            if n and source != sources[n - 1]:
                seen = self._without_own_car(source, keep)
            start, end = end, end + len(seen.rows)
            if end > len(joined):
                # Room for the rest at once: fresh memory costs more than the arithmetic, and
                # what stays unwritten costs nothing.
                room = len(seen.points) * (num_sweeps - n)
                grown = np.empty((start + room, width), np.float32)
                grown[:start] = joined[:start]
                joined = grown
            _move(seen, ref_SE3_source[n], float(dt_s[n]), out=joined[start:end])
        joined = joined[:end]
        return Sweep(
            points=joined,
            columns=(*self.point_columns, "dt"),
            timestamp_ns=int(self.timestamps_ns[i]),
            global_SE3_lidar=self.global_SE3_lidar[i],
            dt_s=joined[:, -1],
            frame=self.frame,
            file=f"{self._file(i)}{' or an earlier one' if num_sweeps > 1 else ''}",
        )

    def boxes(self, i: int) -> Boxes | None:
        """Annotated objects of sweep `i`; None where the sweep was not annotated.

        Raises:
            LabelAccessError: On a view made for pretraining.
        """
        self._check_labels("boxes")
        self._check(i)
        if not self.labelled[i]:
            return None
        first, last = self.arrays["box_start"][self.first + i : self.first + i + 2]
        boxes = np.array(self.arrays["box"][first:last])
        rotation = self.points_R_delivered
        boxes[:, :3] = boxes[:, :3] @ rotation.T
        boxes[:, 6] = wrap_angle(boxes[:, 6] + np.arctan2(rotation[1, 0], rotation[0, 0]))
        return Boxes(
            boxes=boxes,
            velocity_mps=self.arrays["box_velocity"][first:last] @ rotation[:2, :2].T,
            category=tuple(self.categories[n] for n in self.arrays["box_category"][first:last]),
            track_id=tuple(name.decode() for name in self.arrays["box_track"][first:last]),
            num_points=np.array(self.arrays["box_num_points"][first:last]),
            frame=self.frame,
        )

    def point_classes(self, i: int) -> UInt8[ndarray, " points"] | None:
        """Annotated class of every point of sweep `i`; None where the sweep has none.

        nuScenes-lidarseg general classes: 0 noise, 1-23 foreground (animals, people, movable
        objects, vehicles), 24-30 background, 31 the own car.

        Raises:
            LabelAccessError: On a view made for pretraining.
            UserError: The file is missing, or its length is not that of the sweep.
        """
        self._check_labels("point classes")
        self._check(i)
        name = self.arrays["class_file"][self.first + i].decode()
        if not name:
            return None
        path = self.root / name
        try:
            classes = np.fromfile(path, np.uint8)
        except OSError as error:
            raise UserError(
                f"cannot read the point classes {path}: {error.strerror}; unpack the lidarseg "
                "archive under the same root"
            ) from None
        num_points = len(self._read(i))
        if len(classes) != num_points:
            raise UserError(
                f"the point classes {path} are {len(classes)} for {num_points} points of the "
                "sweep: truncated or of another sweep; copy the file again"
            )
        return classes

    def _check_labels(self, what: str) -> None:
        if not self.labels:
            raise LabelAccessError(
                f"{what} of log {self.name!r} were asked for in pretraining, which must not see "
                "them"
            )

    def _without_own_car(
        self,
        i: int,
        keep: Callable[[Float32[ndarray, "points 3"]], Bool[ndarray, " points"]] | None,
    ) -> "_Seen":
        points = self._read(i)
        near = (np.abs(points[:, 0]) < NEAR_EGO_M) & (np.abs(points[:, 1]) < NEAR_EGO_M)
        rows = np.flatnonzero(~near if keep is None else ~near & keep(points[:, :3]))
        return _Seen(points, rows)

    def _read(self, i: int) -> Float32[ndarray, "points columns_and_ring"]:
        raw = read_sweep_file(self.kind, self._file(i), self.point_columns)
        if self._turned:
            raw = raw.copy()
            raw[:, :3] = raw[:, :3] @ self.points_R_delivered.T.astype(np.float32)
        return raw

    def _file(self, i: int) -> Path:
        name: str = self.arrays["file"][self.first + i].decode()
        return self.root / name

    def _column(self, name: str) -> Any:
        return np.asarray(self.arrays[name])[self.first : self.last]

    def _check(self, i: int) -> None:
        if not 0 <= i < len(self):
            raise IndexError(f"log {self.name!r} has sweeps 0..{len(self) - 1}, got {i}")


def _move(
    seen: _Seen,
    ref_SE3_source: Float64[ndarray, "4 4"],
    dt_s: float,
    *,
    out: Float32[ndarray, "points columns"],
) -> None:
    """Write a sweep's returns in the reference frame, and their dt.

    float32 is enough once the relative pose is formed. A column of ones, in the place of the ring
    if there is one, lets a single product turn and shift x y z, keep the other columns and add dt.
    """
    width = out.shape[1] - 1
    wide = seen.points
    if wide.shape[1] == width or not wide.flags.writeable:
        wide = np.empty((len(seen.points), width + 1), np.float32)
        wide[:, :width] = seen.points[:, :width]
    wide[:, width] = 1
    matrix = np.eye(width + 1, dtype=np.float32)
    matrix[:3, :3] = ref_SE3_source[:3, :3].T
    matrix[width, :3] = ref_SE3_source[:3, 3]
    matrix[width, width] = dt_s
    np.take(wide @ matrix, seen.rows, axis=0, out=out, mode="clip")
