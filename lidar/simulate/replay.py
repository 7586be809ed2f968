"""Replay of an Argoverse 2 log: its tracks are the actors, its poses the own car's.

The log's surroundings are unknown; the ground is a plane through the bottoms of the boxes, with
walls and poles where nothing ever passes.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.errors import UserError
from lidar.geometry.se3 import matrix_from_quaternion_wxyz, se3
from lidar.simulate.actors import MOVING_MPS, Actor
from lidar.simulate.bodies import make_body
from lidar.simulate.mesh import box, frustum, merge, quad
from lidar.simulate.tracks import SampledTrack
from lidar.simulate.world import World, sloped

CLASS_OF_AV2: dict[str, str] = {
    "REGULAR_VEHICLE": "car",
    "LARGE_VEHICLE": "truck",
    "BOX_TRUCK": "truck",
    "TRUCK": "truck",
    "TRUCK_CAB": "truck",
    "BUS": "bus",
    "SCHOOL_BUS": "bus",
    "ARTICULATED_BUS": "bus",
    "VEHICULAR_TRAILER": "trailer",
    "MESSAGE_BOARD_TRAILER": "trailer",
    "TRAFFIC_LIGHT_TRAILER": "trailer",
    "MOTORCYCLE": "motorcycle",
    "MOTORCYCLIST": "motorcycle",
    "BICYCLE": "bicycle",
    "BICYCLIST": "bicycle",
    "PEDESTRIAN": "pedestrian",
    "OFFICIAL_SIGNALER": "pedestrian",
    "CONSTRUCTION_CONE": "traffic_cone",
    "BOLLARD": "traffic_cone",
    "CONSTRUCTION_BARREL": "traffic_cone",
}
"""Categories that are replayed; others (signs, dogs, strollers, ...) have no class of ours and are
left out, counted in the log."""

_POSE_COLUMNS = ("timestamp_ns", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
_BOX_COLUMNS = ("track_uuid", "category", "length_m", "width_m", "height_m")
_EDGE_S = 0.06
_REACH_M = 110.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedEgo:
    """world_SE3_ego between recorded poses: linear in position, spherical in rotation."""

    times_s: Float64[ndarray, " samples"]
    world_SE3_ego: Float64[ndarray, "samples 4 4"]

    def poses(self, time_s: Float64[ndarray, " times"]) -> Float64[ndarray, "times 4 4"]:
        """Interpolated poses; the ends are held."""
        from scipy.spatial.transform import Rotation, Slerp

        at = np.clip(time_s, self.times_s[0], self.times_s[-1])
        turn = Slerp(self.times_s, Rotation.from_matrix(self.world_SE3_ego[:, :3, :3]))
        position = self.world_SE3_ego[:, :3, 3]
        xyz = np.stack([np.interp(at, self.times_s, position[:, i]) for i in range(3)], axis=1)
        return se3(turn(at).as_matrix(), xyz)


@dataclass(frozen=True)
class Replay:
    """A log ready to be scanned."""

    world: World
    actors: list[Actor]
    ego: RecordedEgo
    start_us: int
    duration_s: float


def read_replay(folder: Path, rng: np.random.Generator) -> Replay:
    """Read `annotations.feather` and `city_SE3_egovehicle.feather` of a log.

    Boxes of categories that are not in `CLASS_OF_AV2` are left out; how many is logged.

    Raises:
        UserError: A file is missing or damaged, or the files do not belong together.
    """
    poses = _read(folder, "city_SE3_egovehicle.feather", _POSE_COLUMNS)
    rows = _read(folder, "annotations.feather", (*_POSE_COLUMNS, *_BOX_COLUMNS))
    pose_ns = poses["timestamp_ns"].to_numpy(np.int64)
    order = np.argsort(pose_ns)
    city_SE3_ego = _transforms(poses)[order]
    times_ns = np.unique(rows["timestamp_ns"].to_numpy(np.int64))
    if not len(times_ns) or not np.isin(times_ns, pose_ns).all():
        raise UserError(
            f"replay: {folder} holds no box, or boxes at times without a pose; give the folder of "
            "an Argoverse 2 log with both files as published"
        )
    _log_left_out(rows["category"])
    start_ns = int(times_ns[0])
    at = np.searchsorted(pose_ns[order], rows["timestamp_ns"].to_numpy(np.int64))
    at = np.clip(at, 0, len(order) - 1)
    origin = city_SE3_ego[np.searchsorted(pose_ns[order], start_ns)][:3, 3]
    city_SE3_ego[:, :3, 3] -= origin  # the world frame: city axes, origin at the first ego pose
    world_SE3_box = city_SE3_ego[at] @ _transforms(rows)
    size = rows[["length_m", "width_m", "height_m"]].to_numpy(np.float64)
    bottom = world_SE3_box[:, :3, 3].copy()
    bottom[:, 2] -= size[:, 2] / 2
    height, slope = _ground_plane(bottom)
    bottom[:, 2] -= height
    city_SE3_ego[:, 2, 3] -= height
    ego = RecordedEgo((pose_ns[order] - start_ns) * 1e-9, city_SE3_ego)
    flat = bottom.copy()
    flat[:, 2] -= bottom[:, :2] @ np.array(slope)
    yaw = np.arctan2(world_SE3_box[:, 1, 0], world_SE3_box[:, 0, 0])
    time_s = (rows["timestamp_ns"].to_numpy(np.int64) - start_ns) * 1e-9
    actors = []
    for _, index in sorted(rows.groupby("track_uuid").indices.items()):
        category = str(rows["category"].iloc[index[0]])
        if category in CLASS_OF_AV2:
            index = index[np.argsort(time_s[index])]
            track = SampledTrack(time_s[index], flat[index], yaw[index])
            actors.append(_actor(CLASS_OF_AV2[category], category, size[index[0]], track, rng))
    world = _surroundings(flat[:, :2], city_SE3_ego[:, :2, 3], slope, rng)
    return Replay(world, actors, ego, start_ns // 1000, float(times_ns[-1] - start_ns) * 1e-9)


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> Any:
    path = folder / name
    if not path.is_file():
        raise UserError(f"replay: no {name} in {folder}; give the folder of an Argoverse 2 log")
    import pandas

    try:
        return pandas.read_feather(path, columns=list(columns))
    except (OSError, ValueError) as error:  # pyarrow's errors of damage and of absent columns
        raise UserError(f"replay: cannot read {path}: {error}; copy it again") from None


def _log_left_out(category: Any) -> None:
    counts = category[~category.isin(list(CLASS_OF_AV2))].value_counts()
    if len(counts):
        named = ", ".join(f"{count} {name}" for name, count in counts.items())
        _LOG.info("replay: %d of %d boxes left out: %s", counts.sum(), len(category), named)


def _transforms(rows: Any) -> Float64[ndarray, "rows 4 4"]:
    rotation = matrix_from_quaternion_wxyz(rows[["qw", "qx", "qy", "qz"]].to_numpy(np.float64))
    return se3(rotation, rows[["tx_m", "ty_m", "tz_m"]].to_numpy(np.float64))


def _ground_plane(bottom: ndarray) -> tuple[float, tuple[float, float]]:
    """z = height + slope . (x, y) through box bottoms by least absolute deviations."""
    matrix = np.column_stack([np.ones(len(bottom)), bottom[:, :2]])
    weight = np.ones(len(bottom))
    plane = np.zeros(3)
    for _ in range(20):  # iteratively re-weighted least squares
        plane = np.linalg.lstsq(matrix * weight[:, None], bottom[:, 2] * weight, rcond=None)[0]
        weight = 1.0 / np.sqrt(np.maximum(np.abs(bottom[:, 2] - matrix @ plane), 0.01))
    return float(plane[0]), (float(plane[1]), float(plane[2]))


def _actor(
    name: str, category: str, size: ndarray, track: SampledTrack, rng: np.random.Generator
) -> Actor:
    rider = category not in ("MOTORCYCLE", "BICYCLE")
    body = make_body(name, rng, rider=rider, size=(float(size[0]), float(size[1]), float(size[2])))
    span = np.ptp(track.xyz[:, :2], axis=0)
    still = float(np.hypot(*span)) < MOVING_MPS * max(1.0, float(np.ptp(track.times_s)))
    life = (float(track.times_s[0]) - _EDGE_S, float(track.times_s[-1]) + _EDGE_S)
    ridden = name in ("motorcycle", "bicycle")
    parked = not rider if ridden else still and name != "pedestrian"
    return Actor(name, body, track, "parked" if parked else "active", life_s=life)


def _surroundings(
    passed: ndarray, ego: ndarray, slope: tuple[float, float], rng: np.random.Generator
) -> World:
    parts = [quad((-400.0, 400.0), (-400.0, 400.0), 0.0, "asphalt")]
    used = np.concatenate([passed[::7], ego[::20]])
    for x, y in rng.uniform(-_REACH_M, _REACH_M, (160, 2)):
        free = float(np.sqrt(((used - [x, y]) ** 2).sum(1)).min())
        if free > 11.0:
            half = min(0.4 * free, 6.0)
            top = float(rng.uniform(4.0, 14.0))
            parts.append(box((x - half, x + half), (y - half, y + half), (0.0, top), "brick"))
        elif free > 3.5:
            parts.append(frustum((x, y), (0.15, 0.1), (0.0, 6.0), "steel"))
    return sloped(merge(parts), slope)
