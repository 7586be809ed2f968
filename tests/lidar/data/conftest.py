"""Small data sets in the real formats."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lidar.data.kitti import SENSOR as KITTI_SENSOR
from lidar.data.log_view import LogView
from lidar.geometry.se3 import quaternion_wxyz_from_matrix, se3, yaw_matrix

EGO_SE3_LIDAR = se3(yaw_matrix(-np.pi / 2), np.array([0.94, 0.0, 1.84]))


@pytest.fixture(scope="session")
def kitti_drive(test_data, tmp_path_factory) -> Path:
    """The real 48-sweep drive as a KITTI odometry root."""
    root = tmp_path_factory.mktemp("kitti_drive")
    tool = test_data.parent / "tools" / "unpack_kitti_sequence.py"
    packed = test_data / "lidar" / "kitti_raw_seq"
    subprocess.run([sys.executable, str(tool), str(root), "--packed", str(packed)], check=True)
    return root


@pytest.fixture
def write_kitti() -> Callable[..., Path]:
    """Writes one invented KITTI sequence and returns its folder."""

    def write(root: Path, num_sweeps: int = 12, *, name: str = "00", step_s: float = 0.1) -> Path:
        folder = root / "sequences" / name
        (folder / "velodyne").mkdir(parents=True)
        rng = np.random.default_rng(int(name))
        for i in range(num_sweeps):
            points = rng.uniform([-20, -20, -1.7, 0], [20, 20, 2, 1], (500, 4))
            points.astype("<f4").tofile(folder / "velodyne" / f"{i:06d}.bin")
        poses = np.tile(np.eye(4)[:3], (num_sweeps, 1, 1))
        poses[:, 2, 3] = np.arange(num_sweeps) * 0.5  # camera z is forward
        np.savetxt(folder / "poses.txt", poses.reshape(num_sweeps, 12))
        np.savetxt(folder / "times.txt", np.arange(num_sweeps) * step_s)
        (folder / "calib.txt").write_text("Tr: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n")
        return folder

    return write


@pytest.fixture
def log_of_times() -> Callable[..., LogView]:
    """A log that has times and key flags, and no files."""

    def make(times_s: Any, is_key: Any = None) -> LogView:
        times_ns = np.rint(np.asarray(times_s, np.float64) * 1e9).astype(np.int64)
        keys = np.ones(len(times_ns), bool) if is_key is None else np.asarray(is_key, bool)
        poses = np.tile(np.eye(4), (len(times_ns), 1, 1))
        arrays = {
            "timestamps_ns": times_ns,
            "is_key": keys,
            "global_SE3_ego": poses,
            "global_SE3_lidar": poses,
        }
        return LogView(
            name="log",
            kind="kitti",
            root=Path("nowhere"),
            sensor=KITTI_SENSOR,
            point_columns=("x", "y", "z", "intensity"),
            arrays=arrays,
            categories=(),
            first=0,
            last=len(times_ns),
        )

    return make


def token(*parts: object) -> str:
    """32 hex digits that depend on the parts."""
    return hashlib.md5(repr(parts).encode()).hexdigest()


class NuscenesWriter:
    """Invented nuScenes roots that the devkit loads too."""

    def __init__(self, root: Path, version: str = "v1.0-mini") -> None:
        self.root, self.folder = root, root / version
        names = (
            "category attribute visibility instance sensor calibrated_sensor ego_pose log scene "
            "sample sample_data sample_annotation map"
        )
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names.split()}
        self._add("category", "car", name="vehicle.car", description="", index=0)
        self._add("attribute", "moving", name="vehicle.moving", description="")
        self._add("visibility", "v", level="v80-100", description="")
        self._add("sensor", "lidar", channel="LIDAR_TOP", modality="lidar")
        self._add("sensor", "camera", channel="CAM_FRONT", modality="camera")
        self._add("map", "map", log_tokens=[], category="semantic_prior", filename="maps/m.png")

    def _add(self, table: str, *key: object, **fields: Any) -> str:
        record = {"token": token(table, *key), **fields}
        self.tables[table].append(record)
        return record["token"]

    def pose(self, table: str, *key: object, transform: Any, **fields: Any) -> str:
        """A record with translation and rotation."""
        return self._add(
            table,
            *key,
            translation=transform[:3, 3].tolist(),
            rotation=quaternion_wxyz_from_matrix(transform[:3, :3]).tolist(),
            **fields,
        )

    def scene(self, name: str, *, keys: int = 4, sweeps_per_key: int = 10) -> None:
        """Add a scene at 20 Hz: the ego turns, one car drives along x at 5 m/s."""
        rng = np.random.default_rng(len(self.tables["scene"]))
        log = self._add(
            "log", name, logfile=name, vehicle="n", date_captured="2018-01-01", location="l"
        )
        self.tables["map"][0]["log_tokens"].append(log)
        scene = token("scene", name)
        mount = self.pose(
            "calibrated_sensor", name, transform=EGO_SE3_LIDAR, camera_intrinsic=[],
            sensor_token=token("sensor", "lidar"),
        )  # fmt: skip
        count = (keys - 1) * sweeps_per_key + 1
        for i in range(count):
            time_us = 1_600_000_000_000_000 + 50_000 * i
            yaw = 0.02 * i
            pose = se3(yaw_matrix(yaw), np.array([400.0 + 0.4 * i, 1100.0 + 0.01 * i * i, 0.0]))
            ego = self.pose("ego_pose", name, i, transform=pose, timestamp=time_us)
            key, is_key = -(-i // sweeps_per_key), i % sweeps_per_key == 0
            filename = f"{'samples' if is_key else 'sweeps'}/LIDAR_TOP/{name}_{i}.pcd.bin"
            (self.root / filename).parent.mkdir(parents=True, exist_ok=True)
            points = rng.uniform([-20, -20, -1.8, 0, 0], [20, 20, 3, 255, 31], (300, 5))
            points[:20, :2] *= 0.04  # own car
            points[:, 3:] = np.floor(points[:, 3:])
            points.astype("<f4").tofile(self.root / filename)
            self._add(
                "sample_data", name, i, sample_token=token("sample", name, key),
                ego_pose_token=ego, calibrated_sensor_token=mount, timestamp=time_us,
                fileformat="pcd", is_key_frame=is_key, height=0, width=0, filename=filename,
                prev=token("sample_data", name, i - 1) if i else "",
                next=token("sample_data", name, i + 1) if i + 1 < count else "",
            )  # fmt: skip
            if is_key:
                self._key_frame(name, scene, key, keys, time_us)
        self._add(
            "scene", name, log_token=log, nbr_samples=keys, name=name, description="",
            first_sample_token=token("sample", name, 0),
            last_sample_token=token("sample", name, keys - 1),
        )  # fmt: skip
        self._add(
            "instance", name, category_token=token("category", "car"), nbr_annotations=keys,
            first_annotation_token=token("sample_annotation", name, 0),
            last_annotation_token=token("sample_annotation", name, keys - 1),
        )  # fmt: skip

    def _key_frame(self, name: str, scene: str, key: int, keys: int, time_us: int) -> None:
        def link(table: str, other: int) -> str:
            return token(table, name, other) if 0 <= other < keys else ""

        self._add(
            "sample", name, key, timestamp=time_us, scene_token=scene,
            prev=link("sample", key - 1), next=link("sample", key + 1),
        )  # fmt: skip
        self.pose(
            "sample_annotation", name, key,
            transform=se3(yaw_matrix(0.1), np.array([410.0 + 2.5 * key, 1105.0, 0.9])),
            sample_token=token("sample", name, key), instance_token=token("instance", name),
            visibility_token=token("visibility", "v"), size=[1.9, 4.6, 1.7], num_lidar_pts=3,
            attribute_tokens=[token("attribute", "moving")], num_radar_pts=0,
            prev=link("sample_annotation", key - 1), next=link("sample_annotation", key + 1),
        )  # fmt: skip

    def point_classes(self, filename: str) -> np.ndarray:
        """Add the nuScenes-lidarseg classes of a sweep: its rows counted modulo 32."""
        (sweep,) = (s for s in self.tables["sample_data"] if s["filename"] == filename)
        path = f"lidarseg/{self.folder.name}/{sweep['token']}_lidarseg.bin"
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        classes = (np.arange(300) % 32).astype(np.uint8)
        classes.tofile(self.root / path)
        self.tables.setdefault("lidarseg", [])
        self._add("lidarseg", filename, sample_data_token=sweep["token"], filename=path)
        return classes

    def finish(self) -> Path:
        """Write the tables."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, records in self.tables.items():
            (self.folder / f"{name}.json").write_text(json.dumps(records, indent=0))
        (self.root / "maps").mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(self.root / "maps" / "m.png")
        return self.root


@pytest.fixture
def nuscenes_root(tmp_path) -> Path:
    """Two invented scenes of the mini lists: one trains, one validates."""
    writer = NuscenesWriter(tmp_path / "nuscenes")
    writer.scene("scene-0061")
    writer.scene("scene-0103", keys=3)
    return writer.finish()


@pytest.fixture
def nuscenes_writer() -> type[NuscenesWriter]:
    """For roots of another shape."""
    return NuscenesWriter
