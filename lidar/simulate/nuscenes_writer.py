"""Write drives as a nuScenes root that the devkit loads and evaluates.

Every drive is written on its own: its sweeps, then its rows of the tables in
`.scenes/<name>.rows.json`. When all are there, `finish` puts the 13 tables together.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.run import atomic_path, atomic_write
from lidar.geometry.se3 import quaternion_wxyz_from_matrix, se3, yaw_matrix
from lidar.simulate.actors import CATEGORY
from lidar.simulate.config import SimulateConfig
from lidar.simulate.drive import Drive, SimulatedSweep
from lidar.simulate.side_file import side_columns, write_side_file

CHANNEL = "LIDAR_TOP"
MINI_TRAIN = (
    "scene-0061", "scene-0553", "scene-0655", "scene-0757", "scene-0796", "scene-1077",
    "scene-1094", "scene-1100",
)  # fmt: skip
MINI_VAL = ("scene-0103", "scene-0916")
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider", "pedestrian.moving", "pedestrian.standing",
    "pedestrian.sitting_lying_down",
)  # fmt: skip
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
_SCENE_TABLES = (
    "log", "scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "instance",
    "sample_annotation",
)  # fmt: skip

Row = dict[str, Any]


def scene_names(config: SimulateConfig) -> list[str]:
    """Name of every drive; the mini lists for v1.0-mini, else sim-0000, sim-0001, ..."""
    if config.version != "v1.0-mini":
        return [f"sim-{scene:04d}" for scene in range(config.scenes)]
    free = {"train": list(MINI_TRAIN), "val": list(MINI_VAL)}
    return [free[config.split_of(scene)].pop(0) for scene in range(config.scenes)]


def token(*parts: object) -> str:
    """32 hex digits that depend on the parts alone."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def global_SE3_world(scene: int) -> Float64[ndarray, "4 4"]:
    """Where a drive lies on the map: turned and shifted differently for each."""
    yaw = 2.0 * np.pi * ((0.1 + 0.381966 * scene) % 1.0)
    shift = np.array([800.0 + 250.0 * (scene % 8), 900.0 + 250.0 * (scene // 8 % 8), 0.0])
    return se3(yaw_matrix(yaw), shift)


def write_scene(
    root: Path,
    config: SimulateConfig,
    drive: Drive,
    sweeps: Iterable[SimulatedSweep],
    *,
    scene: int,
    on_sweep: Callable[[], None],
) -> None:
    """Write one drive: points and side files of every sweep, last its rows of the tables.

    Args:
        root: The nuScenes root.
        config: For version, truth and motion distortion.
        drive: Actors and sensor.
        sweeps: All its sweeps in order.
        scene: Number of the drive.
        on_sweep: Called after every sweep.
    """
    name = scene_names(config)[scene]
    rows = _SceneRows(config, drive, name, scene)
    for folder in ("samples", "sweeps", "truth"):
        (root / folder / CHANNEL).mkdir(parents=True, exist_ok=True)
    for sweep in sweeps:
        stem = f"{name}__{CHANNEL}__{sweep.timestamp_us}"
        relative = f"{'samples' if sweep.is_key else 'sweeps'}/{CHANNEL}/{stem}.pcd.bin"
        columns = [sweep.xyz, sweep.intensity[:, None], sweep.ring[:, None]]
        np.concatenate(columns, axis=1, dtype="<f4").tofile(root / relative)
        side = side_columns(sweep, truth=config.truth, motion_distortion=config.motion_distortion)
        write_side_file(root / "truth" / CHANNEL / f"{stem}.npz", side)
        rows.add(sweep, relative)
        on_sweep()
    atomic_write(_rows_file(root, name), json.dumps(rows.finish()))


def _rows_file(root: Path, name: str) -> Path:
    """The rows of one drive until all drives are there."""
    return root / ".scenes" / f"{name}.rows.json"


class _SceneRows:
    """Collects a drive's rows and links them: prev, next, first, last."""

    def __init__(self, config: SimulateConfig, drive: Drive, name: str, scene: int) -> None:
        self.drive, self.name, self.placed = drive, name, global_SE3_world(scene)
        self.key_every = config.key_every
        self.tables: dict[str, list[Row]] = {table: [] for table in _SCENE_TABLES}
        self.annotations: list[list[Row]] = [[] for _ in drive.actors]
        self.tables["log"].append(
            {
                "token": token(name, "log"),
                "logfile": name,
                "vehicle": "simulated",
                "date_captured": "2020-09-13",
                "location": "simulated-street",
            }
        )
        self.tables["calibrated_sensor"].append(
            {
                "token": token(name, "calibrated_sensor"),
                "sensor_token": token("sensor", CHANNEL),
                **_pose_fields(drive.sensor.ego_SE3_lidar),
                "camera_intrinsic": [],
            }
        )

    def add(self, sweep: SimulatedSweep, relative: str) -> None:
        """Rows of one sweep; of its sample and annotations too when it is a key frame."""
        pose = token(self.name, "ego_pose", sweep.index)
        self.tables["ego_pose"].append(
            {
                "token": pose,
                "timestamp": sweep.timestamp_us,
                **_pose_fields(self.placed @ sweep.world_SE3_ego),
            }
        )
        self.tables["sample_data"].append(
            {
                "token": token(self.name, "sample_data", sweep.index),
                "sample_token": "",
                "ego_pose_token": pose,
                "calibrated_sensor_token": token(self.name, "calibrated_sensor"),
                "timestamp": sweep.timestamp_us,
                "fileformat": "pcd",
                "is_key_frame": sweep.is_key,
                "height": 0,
                "width": 0,
                "filename": relative,
            }
        )
        if sweep.is_key:
            sample = token(self.name, "sample", len(self.tables["sample"]))
            self.tables["sample"].append(
                {
                    "token": sample,
                    "timestamp": sweep.timestamp_us,
                    "scene_token": token(self.name, "scene"),
                }
            )
            self._annotate(sweep, sample)

    def _annotate(self, sweep: SimulatedSweep, sample: str) -> None:
        boxes = sweep.boxes
        centre = boxes.centre @ self.placed[:3, :3].T + self.placed[:3, 3]
        yaw = boxes.yaw + np.arctan2(self.placed[1, 0], self.placed[0, 0])
        rotation = quaternion_wxyz_from_matrix(yaw_matrix(yaw))
        speed = np.linalg.norm(boxes.velocity, axis=1)
        for number, actor in enumerate(self.drive.actors):
            if not boxes.present[number]:
                continue
            length, width, height = actor.body.size_lwh
            attribute = actor.attribute(float(speed[number]))
            self.annotations[number].append(
                {
                    "token": token(self.name, "annotation", sample, number),
                    "sample_token": sample,
                    "instance_token": self._instance(number),
                    "visibility_token": str(int(boxes.visibility[number])),
                    "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                    "translation": centre[number].tolist(),
                    "size": [width, length, height],
                    "rotation": rotation[number].tolist(),
                    "num_lidar_pts": int(boxes.num_points[number]),
                    "num_radar_pts": 0,
                }
            )
            self.tables["sample_annotation"].append(self.annotations[number][-1])

    def _instance(self, number: int) -> str:
        return token(self.name, "instance", number)

    def finish(self) -> dict[str, list[Row]]:
        """Link all rows and add those of the scene and its instances."""
        tables = self.tables
        _link(tables["sample"])
        _link(tables["sample_data"])
        for index, data in enumerate(tables["sample_data"]):
            # The schema: a sweep that is no key frame points to the sample that follows it.
            following = min(-(-index // self.key_every), len(tables["sample"]) - 1)
            data["sample_token"] = tables["sample"][following]["token"]
        for number, actor in enumerate(self.drive.actors):
            own = self.annotations[number]
            if not own:
                continue
            _link(own)
            tables["instance"].append(
                {
                    "token": self._instance(number),
                    "category_token": token("category", CATEGORY[actor.name]),
                    "nbr_annotations": len(own),
                    "first_annotation_token": own[0]["token"],
                    "last_annotation_token": own[-1]["token"],
                }
            )
        tables["scene"].append(
            {
                "token": token(self.name, "scene"),
                "log_token": token(self.name, "log"),
                "nbr_samples": len(tables["sample"]),
                "first_sample_token": tables["sample"][0]["token"],
                "last_sample_token": tables["sample"][-1]["token"],
                "name": self.name,
                "description": "Simulated street",
            }
        )
        return tables


def finish(root: Path, config: SimulateConfig) -> None:
    """Put the rows of all drives together: 13 tables, splits.json and the map's picture."""
    names = scene_names(config)
    merged: dict[str, list[Row]] = {table: [] for table in _SCENE_TABLES}
    for name in names:
        rows = json.loads(_rows_file(root, name).read_text())
        for table in _SCENE_TABLES:
            merged[table] += rows[table]
    map_file = "maps/simulated.png"
    _write_map(root / map_file)
    common: dict[str, list[Row]] = {
        "category": [
            {"token": token("category", name), "name": name, "description": "", "index": i}
            for i, name in enumerate(CATEGORY.values())
        ],
        "attribute": [
            {"token": token("attribute", name), "name": name, "description": ""}
            for name in ATTRIBUTES
        ],
        "visibility": [
            {"token": number, "level": level, "description": ""}
            for number, level in VISIBILITY.items()
        ],
        "sensor": [{"token": token("sensor", CHANNEL), "channel": CHANNEL, "modality": "lidar"}],
        "map": [
            {
                "token": token("map"),
                "category": "semantic_prior",
                "filename": map_file,
                "log_tokens": [log["token"] for log in merged["log"]],
            }
        ],
    }
    folder = root / config.version
    for table, content in (common | merged).items():
        atomic_write(folder / f"{table}.json", json.dumps(content))
    atomic_write(folder / "splits.json", json.dumps(_splits(config, names), indent=2))


def _splits(config: SimulateConfig, names: list[str]) -> dict[str, list[str]]:
    """Split name to drives. The devkit keeps train, val, test and mini_* for the official lists:
    it reads sim_train, sim_val, sim_test here."""
    splits: dict[str, list[str]] = {}
    for scene, name in enumerate(names):
        split = config.split_of(scene)
        for key in (split, f"sim_{split}"):
            splits.setdefault(key, []).append(name)
    return splits


def _pose_fields(transform: Float64[ndarray, "4 4"]) -> Row:
    return {
        "translation": transform[:3, 3].tolist(),
        "rotation": quaternion_wxyz_from_matrix(transform[:3, :3]).tolist(),
    }


def _link(rows: list[Row]) -> None:
    for i, row in enumerate(rows):
        row["prev"] = rows[i - 1]["token"] if i else ""
        row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""


def _write_map(path: Path) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.new("L", (64, 64), 255).save(temporary, format="PNG")
