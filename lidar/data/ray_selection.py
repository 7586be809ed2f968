"""Which returns of a sweep are rendered, and as which rays (TREND §3.4, §4.1).

A ray starts at the position of its own LiDAR at its own time, in the t0 frame; never at the ego
origin. Every filter reports the share it kept of what reached it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy import ndarray

from lidar.config import RaysConfig
from lidar.data.masking import VoxelMask
from lidar.data.structures import SensorSpec
from lidar.geometry.se3 import transform_points

FPS_POOL = 2
"""Farthest point sampling looks at a uniform draw of at most this many times the wanted rays."""
_NO_RANGE_M = 1e-3


@dataclass(frozen=True)
class RayTargets:
    """The rays of one frame in the t0 frame, padded to the configured number."""

    origin: Float32[ndarray, "rays 3"]
    direction: Float32[ndarray, "rays 3"]
    """Unit vectors; +x on padding."""
    range_m: Float32[ndarray, " rays"]
    """Distance from the ray's own origin; 0 on padding."""
    intensity: Float32[ndarray, " rays"]
    """In [0, 1]; NaN where the sensor gives none, 0 on padding."""
    valid: Bool[ndarray, " rays"]
    kept: dict[str, float]


def height_above_ground(
    xyz: Float[ndarray, "points 3"],
    up: Float64[ndarray, "3"],
    sensor: SensorSpec,
    config: RaysConfig,
) -> Float[ndarray, " points"]:
    """Height in metres over the vehicle's ground plane, the sensor's height below the sensor.

    Args:
        xyz: Points in their own sensor frame.
        up: The vehicle's z axis in that frame (`LogView.up`): height is vehicle-frame z.
        sensor: Gives the sensor's height.
        config: May override it.
    """
    sensor_height_m = sensor.height_m if config.sensor_height_m is None else config.sensor_height_m
    return np.asarray(xyz @ up.astype(xyz.dtype) + xyz.dtype.type(sensor_height_m))


def outside_ego_box(
    xyz: Float[ndarray, "points 3"], sensor: SensorSpec, config: RaysConfig
) -> Bool[ndarray, " points"]:
    """Points that are no return from the own car, by `rays.ego_box` or the data set's box."""
    x_min, x_max, y_min, y_max = config.ego_box or sensor.ego_box
    x, y = xyz[:, 0], xyz[:, 1]
    return ~((x > x_min) & (x < x_max) & (y > y_min) & (y < y_max))


def select_rays(
    xyz: Float32[ndarray, "points 3"],
    intensity: Float32[ndarray, " points"],
    t0_SE3_tn: Float64[ndarray, "4 4"],
    *,
    up: Float64[ndarray, "3"],
    sensor: SensorSpec,
    config: RaysConfig,
    point_range: Sequence[float],
    rng: np.random.Generator,
    augmentation: Float64[ndarray, "3 3"] | None = None,
    mask: VoxelMask | None = None,
    weights: Float[ndarray, " points"] | None = None,
) -> RayTargets:
    """Filter and sample the returns of one unmasked sweep.

    Args:
        xyz: Returns in their own sensor frame.
        intensity: In [0, 1].
        t0_SE3_tn: Sensor pose at the sweep's time in the (not augmented) t0 frame.
        up: The vehicle's z axis in the sweep's own frame.
        sensor: Height and own-car box of the sensor.
        config: Filters and sampler.
        point_range: The t0 volume.
        rng: Keyed to the sample and frame.
        augmentation: S of the t0 frame; none = identity. Filters in metres act before it.
        mask: Input mask, for `rays.only_masked`.
        weights: Further factor of the sampling weight of each return; none = 1.
    """
    ranges = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    kept: dict[str, float] = {}
    rows = np.arange(len(xyz))

    def narrow(name: str, passed: Bool[ndarray, " rows"]) -> Int64[ndarray, " passed"]:
        kept[name] = float(passed.mean()) if len(passed) else 1.0
        passing: Int64[ndarray, " passed"] = rows[passed]
        return passing

    rows = narrow("min_range", ranges >= max(config.min_range, _NO_RANGE_M))
    rows = narrow("ego_box", outside_ego_box(xyz[rows], sensor, config))
    weights = np.ones(len(xyz)) if weights is None else weights.astype(np.float64)
    if config.ground_filter or config.ground_weight != 1:
        above = height_above_ground(xyz, up, sensor, config) >= config.z_thd
        weights[~above] = config.ground_weight
        if config.ground_filter:
            rows = narrow("ground", above[rows])
    if config.range_power:
        weights *= ranges.astype(np.float64) ** config.range_power
    similarity = np.eye(4)
    similarity[:3, :3] = np.eye(3) if augmentation is None else augmentation
    t0_SIM3_tn = similarity @ t0_SE3_tn
    targets = transform_points(t0_SIM3_tn, xyz[rows])
    if config.inside_volume_only:
        inside = (targets >= point_range[:3]).all(axis=1) & (targets < point_range[3:]).all(axis=1)
        rows, targets = narrow("inside_volume", inside), targets[inside]
    if config.only_masked and mask is not None:
        masked = mask.covers(torch.from_numpy(targets.astype(np.float32))).numpy()
        rows, targets = narrow("only_masked", masked), targets[masked]

    chosen = _sample(targets, weights[rows], config, rng)
    kept["sampled"] = len(chosen) / len(rows) if len(rows) else 1.0
    kept["filled"] = len(chosen) / config.n
    return _padded(targets[chosen], intensity[rows[chosen]], t0_SIM3_tn[:3, 3], config.n, kept)


def _sample(
    targets: Float64[ndarray, "candidates 3"],
    weights: Float64[ndarray, " candidates"],
    config: RaysConfig,
    rng: np.random.Generator,
) -> Int64[ndarray, " chosen"]:
    """At most `rays.n` different candidates, in ascending order."""
    if len(targets) <= config.n:
        return np.arange(len(targets))
    # The n largest u^(1/w) are a draw without replacement with weights w (Efraimidis, Spirakis).
    keys = np.log1p(-rng.random(len(targets))) / weights
    if config.sampler == "uniform":
        return np.sort(np.argpartition(keys, -config.n)[-config.n :])
    pool_size = min(FPS_POOL * config.n, len(targets))
    pool = np.sort(np.argpartition(keys, -pool_size)[-pool_size:])
    start = int(rng.integers(pool_size))
    return np.sort(pool[_farthest_points(targets[pool], config.n, start)])


def _farthest_points(
    points: Float64[ndarray, "points 3"], count: int, start: int
) -> Int64[ndarray, " count"]:
    """Greedy farthest point sampling: each next point is the farthest from all before."""
    columns = np.ascontiguousarray(points.T.astype(np.float32))
    chosen = np.empty(count, np.int64)
    distance_sq = np.full(len(points), np.inf, np.float32)
    current = start
    for n in range(count):
        chosen[n] = current
        offset = columns - columns[:, current : current + 1]
        np.minimum(distance_sq, np.einsum("ij,ij->j", offset, offset), out=distance_sq)
        current = int(distance_sq.argmax())
    return chosen


def _padded(
    targets: Float64[ndarray, "chosen 3"],
    intensity: Float32[ndarray, " chosen"],
    origin: Float64[ndarray, "3"],
    count: int,
    kept: dict[str, float],
) -> RayTargets:
    offset = targets - origin
    distance = np.linalg.norm(offset, axis=1)
    direction = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (count, 1))
    direction[: len(targets)] = offset / distance[:, None]
    range_m, values = np.zeros(count, np.float32), np.zeros(count, np.float32)
    range_m[: len(targets)] = distance
    values[: len(targets)] = intensity
    return RayTargets(
        origin=np.tile(origin.astype(np.float32), (count, 1)),
        direction=direction,
        range_m=range_m,
        intensity=values,
        valid=np.arange(count) < len(targets),
        kept=kept,
    )
