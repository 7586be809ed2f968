"""Routes in the plane: straight lines, arcs and lane changes, addressed by arc length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

STEP_M = 0.25
"""Distance between the stored points of a path."""


@dataclass(frozen=True)
class Path:
    """Points every `STEP_M` along a smooth route; beyond its end a path goes straight on."""

    xy: Float64[ndarray, "points 2"]
    """Metres, in the world frame."""
    yaw: Float64[ndarray, " points"]
    """Heading in radians, unwrapped."""
    curvature: Float64[ndarray, " points"]
    """1/m, positive to the left."""

    @property
    def length_m(self) -> float:
        """Arc length of the stored part."""
        return (len(self.xy) - 1) * STEP_M

    def at(
        self, s_m: Float64[ndarray, " times"]
    ) -> tuple[Float64[ndarray, "times 2"], Float64[ndarray, " times"]]:
        """Position and heading after `s_m` metres; linear beyond both ends."""
        inside = np.clip(s_m, 0.0, self.length_m)
        i = np.minimum((inside / STEP_M).astype(np.int64), len(self.xy) - 2)
        weight = inside / STEP_M - i
        xy = self.xy[i] + weight[:, None] * (self.xy[i + 1] - self.xy[i])
        yaw = self.yaw[i] + weight * (self.yaw[i + 1] - self.yaw[i])
        beyond = (s_m - inside)[:, None]
        return xy + beyond * np.stack([np.cos(yaw), np.sin(yaw)], axis=1), yaw

    def turned(self, centre: Sequence[float]) -> "Path":
        """The same route turned by 180 degrees about a point: the opposite direction's traffic."""
        xy = 2.0 * np.asarray(centre, np.float64) - self.xy
        return Path(xy, self.yaw + np.pi, self.curvature)


def route(start: Sequence[float], yaw_rad: float, pieces: Sequence[tuple[float, float]]) -> Path:
    """Path of consecutive pieces (length in metres, curvature in 1/m), integrated exactly.

    Within a piece of curvature c the heading grows by c per metre and the points lie on the
    circle: x(s) = x0 + (sin(yaw0 + c s) - sin(yaw0))/c, and alike for y.

    >>> route((0.0, 0.0), 0.0, [(10.0, 0.0)]).at(np.array([4.0]))[0]
    array([[4., 0.]])
    """
    total = sum(length for length, _ in pieces)
    s = np.arange(int(np.ceil(total / STEP_M)) + 1) * STEP_M
    xy, yaw, curvature = np.zeros((len(s), 2)), np.zeros(len(s)), np.zeros(len(s))
    begin, at, heading = 0.0, np.asarray(start, np.float64), yaw_rad
    for number, (length, bend) in enumerate(pieces):
        last = number == len(pieces) - 1
        here = (s >= begin - 1e-9) & (last | (s < begin + length - 1e-9))
        xy[here] = at + _advance(s[here] - begin, heading, bend)
        yaw[here] = heading + bend * (s[here] - begin)
        curvature[here] = bend
        at = at + _advance(np.array([length]), heading, bend)[0]
        heading += bend * length
        begin += length
    return Path(xy, yaw, curvature)


def lane_change(
    start: Sequence[float],
    yaw_rad: float,
    total_m: float,
    begin_m: float,
    length_m: float,
    offset_m: float,
) -> Path:
    """A straight route that moves `offset_m` to the left between begin and begin + length.

    The lateral profile is offset (u - sin(2 pi u)/(2 pi)): no jump in heading or curvature.
    """
    fine = np.arange(0.0, total_m + 2 * STEP_M, STEP_M / 5)
    u = np.clip((fine - begin_m) / length_m, 0.0, 1.0)
    lateral = offset_m * (u - np.sin(2 * np.pi * u) / (2 * np.pi))
    slope = np.where((u > 0) & (u < 1), offset_m / length_m * (1 - np.cos(2 * np.pi * u)), 0.0)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(fine), np.diff(lateral)))])
    s = np.arange(int(total_m / STEP_M) + 1) * STEP_M
    along, across = np.interp(s, arc, fine), np.interp(s, arc, lateral)
    heading = np.arctan(np.interp(s, arc, slope))
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    xy = np.stack([cos * along - sin * across, sin * along + cos * across], axis=1) + start
    return Path(xy, yaw_rad + heading, np.gradient(heading, STEP_M))


def _advance(s_m: ndarray, yaw_rad: float, curvature: float) -> ndarray:
    if curvature == 0.0:
        heading = np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
        return np.asarray(s_m[:, None] * heading)
    end = yaw_rad + curvature * s_m
    chord = [np.sin(end) - np.sin(yaw_rad), np.cos(yaw_rad) - np.cos(end)]
    return np.asarray(np.stack(chord, axis=1) / curvature)
