"""Where an actor is at any time: planar pose with height, and its velocity."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lidar.simulate.paths import Path


@dataclass(frozen=True)
class Pose:
    """Poses at T times in the world frame; z is the height above the flat world's road."""

    xyz: Float64[ndarray, "times 3"]
    yaw: Float64[ndarray, " times"]
    velocity: Float64[ndarray, "times 2"]


@runtime_checkable
class Track(Protocol):
    """What the scanner and the writers ask of an actor's motion."""

    @property
    def moves(self) -> bool:
        """Whether it ever moves."""

    def pose(self, time_s: Float64[ndarray, " times"]) -> Pose:
        """Poses at the given times, seconds since the start of the drive."""


@dataclass(frozen=True)
class StandingTrack:
    """An actor that never moves."""

    position: tuple[float, float, float]
    yaw_rad: float
    moves: bool = False

    def pose(self, time_s: Float64[ndarray, " times"]) -> Pose:
        """The same pose at all times."""
        times = len(time_s)
        xyz = np.tile(np.asarray(self.position, np.float64), (times, 1))
        return Pose(xyz, np.full(times, self.yaw_rad), np.zeros((times, 2)))


@dataclass(frozen=True)
class PathTrack:
    """Motion along a path with constant acceleration within each step of `step_s`.

    Unicycle: the heading is the path's tangent. `offset_m` shifts along the path (towed bodies).
    """

    path: Path
    start_s: float
    step_s: float
    s_m: Float64[ndarray, " steps"]
    speed_mps: Float64[ndarray, " steps"]
    acceleration: Float64[ndarray, " steps"]
    offset_m: float = 0.0
    kerb_m: float | None = None
    """abs(y) of the kerb where a walker steps between road and pavement; none = on the road."""
    kerb_height_m: float = 0.15
    moves: bool = True

    def pose(self, time_s: Float64[ndarray, " times"]) -> Pose:
        """Poses by exact integration of the step's acceleration."""
        k = np.floor((time_s - self.start_s) / self.step_s + 1e-9).astype(np.int64)
        k = np.clip(k, 0, len(self.s_m) - 1)
        tau = time_s - self.start_s - k * self.step_s
        s = self.s_m[k] + self.speed_mps[k] * tau + 0.5 * self.acceleration[k] * tau**2
        speed = self.speed_mps[k] + self.acceleration[k] * tau
        xy, yaw = self.path.at(s + self.offset_m)
        z = np.zeros(len(xy))
        if self.kerb_m is not None:
            ramp_m = 0.3
            z = self.kerb_height_m * np.clip(
                (np.abs(xy[:, 1]) - self.kerb_m) / ramp_m + 0.5, 0.0, 1.0
            )
        velocity = speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        return Pose(np.column_stack([xy, z]), yaw, velocity)


@dataclass(frozen=True)
class SampledTrack:
    """Motion through given poses, linear between them and held before and after."""

    times_s: Float64[ndarray, " samples"]
    xyz: Float64[ndarray, "samples 3"]
    yaw: Float64[ndarray, " samples"]
    moves: bool = True

    def pose(self, time_s: Float64[ndarray, " times"]) -> Pose:
        """Linear interpolation; velocity is the slope of the segment, 0 outside."""
        at = self.times_s
        xyz = np.stack([np.interp(time_s, at, self.xyz[:, axis]) for axis in range(3)], axis=1)
        yaw = np.interp(time_s, at, np.unwrap(self.yaw))
        velocity = np.zeros((len(time_s), 2))
        if len(at) > 1:
            i = np.clip(np.searchsorted(at, time_s, side="right") - 1, 0, len(at) - 2)
            slope = (self.xyz[i + 1, :2] - self.xyz[i, :2]) / (at[i + 1] - at[i])[:, None]
            inside = (time_s >= at[0]) & (time_s <= at[-1])
            velocity = np.where(inside[:, None], slope, 0.0)
        return Pose(xyz, yaw, velocity)
