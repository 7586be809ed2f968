"""Input and ground truth of a forecast evaluation: unmasked points, all rays of every frame."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from lidar.config import ForecastConfig, PretrainConfig
from lidar.data.draws import RAYS, SampleKey
from lidar.data.features import input_features, scaled_intensity
from lidar.data.ray_selection import height_above_ground, outside_ego_box
from lidar.data.window_dataset import actions_between, poses_in_t0, seconds_after_t0
from lidar.data.windows import Window
from lidar.geometry.se3 import transform_points

_NO_RANGE_M = 1e-3


@dataclass(frozen=True)
class EvaluationWindow:
    """One window to be scored; everything in the t0 sensor frame, frames n = 0..l in lists."""

    points: Float32[ndarray, "points features"]
    """Unmasked encoder input."""
    t_s: Float32[ndarray, " frames"]
    """Seconds after t0."""
    t0_SE3_tn: Float64[ndarray, "frames 4 4"]
    """Sensor poses."""
    action: Float32[ndarray, "horizons 3"]
    """dx, dy (m), dtheta (rad) from each frame to the next."""
    origin: tuple[Float32[ndarray, "3"], ...]
    """Sensor position of each frame."""
    direction: tuple[Float32[ndarray, "_ 3"], ...]
    """Unit direction of each scored return."""
    range_m: tuple[Float32[ndarray, " _"], ...]
    """Its distance from the sensor."""
    intensity: tuple[Float32[ndarray, " _"], ...]
    """In [0, 1]; NaN where the sensor gives none."""
    is_ground: tuple[Bool[ndarray, " _"], ...]
    """Below `rays.z_thd` above the ground plane."""
    t0_points: Float32[ndarray, "_ 3"]
    """The raw sweep at t0."""
    history_points: Float32[ndarray, "_ 3"]
    """All input sweeps, without the own car where each of them saw it: carried along it would stand
    on the road."""
    name: str
    """<log>/<sweep number>."""
    window: Window
    """Where it comes from; gives the evaluation its boxes."""
    row: tuple[Int64[ndarray, " _"], ...]
    """Row of each scored return in its sweep."""


def evaluation_window(window: Window, config: PretrainConfig | ForecastConfig) -> EvaluationWindow:
    """Load a window for scoring.

    Returns outside [`eval.min_range_m`, `eval.max_range_m`] and own-car returns are left out; with
    `eval.max_rays` a draw that depends on the window alone keeps so many per frame.
    """
    data, sensor = config.data, window.log.sensor
    accumulated = partial(
        window.log.accumulated,
        window.t0,
        data.num_sweeps,
        data.sweep_stride,
        earliest=window.earliest,
    )
    foreign = accumulated(keep=lambda xyz: outside_ego_box(xyz, sensor, config.rays))
    poses = poses_in_t0(window)
    frames = [_frame(window, n, poses[n], config) for n in range(len(poses))]
    origins, directions, ranges, intensities, grounds, rows = zip(*frames, strict=True)
    return EvaluationWindow(
        points=input_features(accumulated(), data, sensor),
        t_s=seconds_after_t0(window),
        t0_SE3_tn=poses,
        action=actions_between(poses, sensor),
        origin=origins,
        direction=directions,
        range_m=ranges,
        intensity=intensities,
        is_ground=grounds,
        t0_points=np.ascontiguousarray(window.log.sweep(window.t0).points[:, :3]),
        history_points=np.ascontiguousarray(foreign.points[:, :3]),
        name=window.name,
        window=window,
        row=rows,
    )


def _frame(
    window: Window,
    n: int,
    t0_SE3_tn: Float64[ndarray, "4 4"],
    config: PretrainConfig | ForecastConfig,
) -> tuple[
    Float32[ndarray, "3"],
    Float32[ndarray, "rays 3"],
    Float32[ndarray, " rays"],
    Float32[ndarray, " rays"],
    Bool[ndarray, " rays"],
    Int64[ndarray, " rays"],
]:
    """Origin, directions, ranges, intensities, ground flags and sweep rows of one frame."""
    limits, sensor = config.eval, window.log.sensor
    frame = window.all_frames[n]
    sweep = window.log.sweep(frame)
    xyz = sweep.points[:, :3]
    ranges = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    keep = (ranges >= max(limits.min_range_m, _NO_RANGE_M)) & outside_ego_box(
        xyz, sensor, config.rays
    )
    if limits.max_range_m > 0:
        keep &= ranges <= limits.max_range_m
    chosen = np.flatnonzero(keep)
    if 0 < limits.max_rays < len(chosen):
        rng = SampleKey(0, 0, window.log.sweep_offset + window.t0).generator(RAYS, n)
        chosen = np.sort(rng.choice(chosen, limits.max_rays, replace=False))
    offset = transform_points(t0_SE3_tn, xyz[chosen]) - t0_SE3_tn[:3, 3]
    return (
        t0_SE3_tn[:3, 3].astype(np.float32),
        (offset / np.linalg.norm(offset, axis=1, keepdims=True)).astype(np.float32),
        ranges[chosen],
        scaled_intensity(sweep, config.data, sensor)[chosen],
        height_above_ground(xyz[chosen], window.log.up(frame), sensor, config.rays)
        < config.rays.z_thd,
        chosen,
    )
