"""nuScenes roots: our own reading of the 13 JSON tables and of `.pcd.bin` sweeps.

    <root>/<version>/*.json                               tables
    <root>/{samples,sweeps}/LIDAR_TOP/*.pcd.bin           float32 [N, 5] x y z intensity ring

The LiDAR axes are x right, y forward, z up; quaternions are w x y z; calibrated_sensor is
ego_SE3_lidar and ego_pose is global_SE3_ego. Annotations are global with sizes w l h, and become
l w h boxes in the LiDAR frame of their key sweep. A log is a scene.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from foretell.errors import UserError, nearest
from lidar.config import DataConfig
from lidar.data.nuscenes_boxes import Annotations
from lidar.data.nuscenes_splits import official_splits
from lidar.data.nuscenes_tables import numbers, quaternions_wxyz, read_table
from lidar.data.point_files import check_size, read_binary
from lidar.data.structures import SensorSpec
from lidar.data.tables import LogTable, Progress, Source, no_progress
from lidar.geometry.se3 import matrix_from_quaternion_wxyz, se3

CHANNEL = "LIDAR_TOP"
COLUMNS = ("x", "y", "z", "intensity")
SENSOR = SensorSpec(
    name="HDL-32E",
    height_m=1.84,
    flu_R_lidar=np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    ego_box=(-1.0, 1.0, -1.5, 2.5),
    intensity_rule="divide_255",
    num_rings=32,
)
_POSE_TABLES = ("scene", "sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose")
_LABEL_TABLES = ("sample_annotation", "instance", "category")
_CLASS_TABLE = "lidarseg"


def fingerprint_files(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """Tables whose content, and folders whose listing, the index depends on."""
    folder = version_folder(config)
    tables = [folder / f"{name}.json" for name in (*_POSE_TABLES, *_LABEL_TABLES, _CLASS_TABLE)]
    sweeps = [Path(config.root) / name / CHANNEL for name in ("samples", "sweeps")]
    return [*tables, folder / "splits.json"], sweeps


def version_folder(config: DataConfig) -> Path:
    """The folder of the tables.

    Raises:
        UserError: It is absent; names the versions that are there.
    """
    root = Path(config.root)
    folder = root / config.version
    if (folder / "scene.json").is_file():
        return folder
    found = sorted(path.parent.name for path in root.glob("*/scene.json"))
    if found:
        raise UserError(
            f"no nuScenes version {config.version!r} under {root}: found {', '.join(found)}; set "
            f"--data.version{nearest(config.version, found)}"
        )
    raise UserError(
        f"no nuScenes tables under {root}: looked for {folder}/scene.json; download metadata and "
        "LiDAR blobs from https://www.nuscenes.org/nuscenes#download, or make a root in the same "
        "format with `foretell lidar simulate`"
    )


def read_source(config: DataConfig, *, progress: Progress = no_progress) -> Source:
    """Read the tables of every scene with LiDAR sweeps on disk.

    Missing annotation tables are no error: the logs then have no boxes.

    Raises:
        UserError: A table is missing, malformed or contradicts another, or no sweep is on disk.
    """
    root, folder = Path(config.root), version_folder(config)
    steps = ("sensors", "sweeps", "poses", "annotations")
    progress(f"nuScenes {steps[0]}", 0, 4)
    sensors = read_table(folder / "sensor.json", key="channel", wanted=[CHANNEL])
    mounts = read_table(folder / "calibrated_sensor.json", key="sensor_token", wanted=list(sensors))
    if not mounts:
        raise UserError(f"{folder / 'calibrated_sensor.json'} knows no sensor {CHANNEL}")
    scenes = read_table(folder / "scene.json")
    samples = read_table(folder / "sample.json")
    progress(f"nuScenes {steps[1]}", 1, 4)
    sweeps = read_table(
        folder / "sample_data.json", key="calibrated_sensor_token", wanted=list(mounts)
    )
    progress(f"nuScenes {steps[2]}", 2, 4)
    pose_tokens = {sweep.get("ego_pose_token", "") for sweep in sweeps.values()}
    poses = read_table(folder / "ego_pose.json", key="token", wanted=pose_tokens)
    progress(f"nuScenes {steps[3]}", 3, 4)
    logs: list[LogTable] = []
    skipped: list[str] = []
    missing: list[str] = []
    try:
        annotations = Annotations.read(folder, _LABEL_TABLES, samples)
        class_files = _class_files(folder)
        times_us = _times_us(sweeps, folder / "sample_data.json")
        of_scene: dict[str, list[dict[str, Any]]] = {token: [] for token in scenes}
        for sweep in sweeps.values():
            of_scene[samples[sweep["sample_token"]]["scene_token"]].append(sweep)
        for token, scene in sorted(scenes.items(), key=lambda item: str(item[1]["name"])):
            present = []
            for sweep in of_scene[token]:
                if _on_disk(root / sweep["filename"]):
                    present.append(sweep)
                else:
                    missing.append(sweep["filename"])
            if not present:
                skipped.append(f"scene {scene['name']}: none of its sweeps is on disk")
                continue
            present.sort(key=lambda sweep: times_us[sweep["token"]])
            log = _log(str(scene["name"]), present, times_us, mounts, poses, annotations, folder)
            if class_files:
                names = tuple(class_files.get(str(sweep["token"]), "") for sweep in present)
                log = replace(log, class_files=names)
            logs.append(log)
    except KeyError as error:
        raise _inconsistent(folder, error) from None
    if not logs:
        raise UserError(
            f"no {CHANNEL} sweep of {folder.name} is on disk under {root}/samples and "
            f"{root}/sweeps; unpack the LiDAR blobs there"
        )
    if missing:
        skipped.append(
            f"{len(missing)} sweep file(s) that the tables name are not on disk, first {missing[0]}"
        )
    if annotations is None:
        skipped.append("no annotation tables: pretraining works, boxes are unavailable")
    return Source(
        logs=logs,
        sensor=SENSOR,
        columns=COLUMNS,
        splits=_splits(folder, [log.name for log in logs]),
        skipped=skipped,
    )


def read_points(path: Path) -> Float32[ndarray, "points 5"]:
    """One sweep: x y z in metres, intensity 0-255, and the ring of each point."""
    return read_binary(path, 5)


def _class_files(folder: Path) -> dict[str, str]:
    """Token of a sweep -> its nuScenes-lidarseg file; empty without that extension."""
    path = folder / f"{_CLASS_TABLE}.json"
    if not path.is_file():
        return {}
    records = read_table(path).values()
    return {str(r["sample_data_token"]): str(r["filename"]) for r in records}


def _times_us(sweeps: dict[str, dict[str, Any]], table: Path) -> dict[str, int]:
    """Token of a sweep -> its time, which must agree with the order that `prev` and `next` give."""
    times = numbers(sweeps.values(), "timestamp", (), table).astype(np.int64).tolist()
    times_us = dict(zip(sweeps, times, strict=True))
    for token, sweep in sweeps.items():
        for first, second in ((sweep.get("prev"), token), (token, sweep.get("next"))):
            if first in sweeps and second in sweeps and times_us[first] >= times_us[second]:
                raise UserError(
                    f"{table}: by prev and next {sweeps[second]['filename']} follows "
                    f"{sweeps[first]['filename']}, but its timestamp {times_us[second]} is not "
                    f"after {times_us[first]}; correct it or unpack the metadata archive again"
                )
    return times_us


def _pose_matrices(records: list[dict[str, Any]], table: Path) -> Float64[ndarray, "records 4 4"]:
    rotation = matrix_from_quaternion_wxyz(quaternions_wxyz(records, table))
    return se3(rotation, numbers(records, "translation", (3,), table))


def _inconsistent(folder: Path, error: KeyError) -> UserError:
    return UserError(
        f"the tables of {folder} do not belong together: {error} is a token that one names and "
        "another lacks, or a field that a record lacks; unpack the metadata archive again"
    )


def _on_disk(path: Path) -> bool:
    try:
        check_size(path, path.stat().st_size, 5)
    except FileNotFoundError:
        return False
    return True


def _log(
    name: str,
    sweeps: list[dict[str, Any]],
    times_us: dict[str, int],
    mounts: dict[str, dict[str, Any]],
    poses: dict[str, dict[str, Any]],
    annotations: Annotations | None,
    folder: Path,
) -> LogTable:
    global_SE3_ego = _pose_matrices(
        [poses[sweep["ego_pose_token"]] for sweep in sweeps], folder / "ego_pose.json"
    )
    ego_SE3_lidar = _pose_matrices(
        [mounts[sweep["calibrated_sensor_token"]] for sweep in sweeps],
        folder / "calibrated_sensor.json",
    )
    global_SE3_lidar = global_SE3_ego @ ego_SE3_lidar
    is_key = np.array([bool(sweep["is_key_frame"]) for sweep in sweeps])
    boxes = None
    if annotations is not None:
        keys = {i: str(sweep["sample_token"]) for i, sweep in enumerate(sweeps) if is_key[i]}
        boxes = annotations.of_log(keys, global_SE3_lidar)
    return LogTable(
        name=name,
        timestamps_ns=np.array([times_us[sweep["token"]] for sweep in sweeps], np.int64) * 1000,
        global_SE3_ego=global_SE3_ego,
        global_SE3_lidar=global_SE3_lidar,
        is_key=is_key,
        files=tuple(str(sweep["filename"]) for sweep in sweeps),
        boxes=boxes,
    )


def _splits(folder: Path, scenes: list[str]) -> dict[str, list[str]]:
    """The official splits, overridden by a `splits.json` in the version folder."""
    splits = official_splits(scenes)
    custom = folder / "splits.json"
    if custom.is_file():
        present = set(scenes)
        try:
            for name, members in json.loads(custom.read_text()).items():
                splits[str(name)] = [str(scene) for scene in members if scene in present]
        except (ValueError, AttributeError, TypeError):
            raise UserError(
                f"{custom} must be a JSON object from split name to a list of scene names"
            ) from None
    return splits
