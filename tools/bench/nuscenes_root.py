"""A nuScenes root for benchmarks: tables of the real size, few point files under many names.

    python tools/bench/nuscenes_root.py FOLDER [--scenes 40]

Numbers a scene, from v1.0-trainval's 850 scenes (34,149 samples, 2,631,083 sample_data and as many
ego poses, 1,166,187 annotations of 64,386 objects): 40 samples, 390 LiDAR sweeps, 6 cameras x 240
and 5 radars x 260 rows of sample_data, each with its own ego pose, 35 boxes a sample, 76 objects.
Tables are laid out as the official ones, one value a line. The names of all LiDAR sweeps are on
disk as hard links to a few files of real size.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

VERSION = "v1.0-trainval"
FILES = 12
NUM_POINTS = 34_688
SAMPLES, BOXES, OBJECTS = 40, 35, 76
ROWS = {
    "LIDAR_TOP": 390,
    **{f"CAM_{i}": 240 for i in range(6)},
    **{f"RADAR_{i}": 260 for i in range(5)},
}
"""Rows of sample_data of each channel in a scene."""
PERIOD_US = 50_000
SAMPLE_US = 500_000
CATEGORIES = 23

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def token(*parts: object) -> str:
    """32 hex digits."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def write_root(root: Path, *, scenes: int = 40, seed: int = 0) -> None:
    """Write tables, map pictures and LiDAR sweeps.

    Args:
        root: Empty or absent folder.
        scenes: Number of scenes.
        seed: Of poses, boxes and points.
    """
    rng = np.random.default_rng(seed)
    tables = _common(root, scenes)
    for number in range(scenes):
        _Scene(tables, f"scene-{number + 1:04d}", number, rng).write()
    folder = root / VERSION
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        text = json.dumps(rows, separators=(",\n", ": ")).replace("{", "{\n").replace("}", "\n}")
        (folder / f"{name}.json").write_text(text)
    _write_points(root, [row["filename"] for row in tables["sample_data"]], rng)


def cloud(rng: np.random.Generator) -> Float32[ndarray, "points 5"]:
    """A sweep as a real one counts: 23 % own-car returns, 32 rings, intensity 0-255."""
    own = rng.random(NUM_POINTS) < 0.23
    distance = np.where(own, 0.9 * rng.random(NUM_POINTS), 2 + 60 * rng.random(NUM_POINTS) ** 2)
    angle = rng.uniform(-np.pi, np.pi, NUM_POINTS)
    columns = [
        distance * np.cos(angle),
        distance * np.sin(angle),
        rng.uniform(-2, 3, NUM_POINTS),
        np.floor(256 * rng.random(NUM_POINTS) ** 3),
        np.arange(NUM_POINTS) % 32,
    ]
    points: Float32[ndarray, "points 5"] = np.stack(columns, axis=1).astype("<f4")
    return points


def _common(root: Path, scenes: int) -> Tables:
    """Tables that do not grow with the scenes, and the log and map of each."""
    from PIL import Image

    logs = [
        {"token": token("log", n), "logfile": f"n{n:03d}", "vehicle": "n", "date_captured": "",
         "location": "invented"}
        for n in range(scenes)
    ]  # fmt: skip
    (root / "maps").mkdir(parents=True)
    Image.new("L", (64, 64), 255).save(root / "maps" / "map.png")
    modality = {"CAM": "camera", "LIDAR": "lidar", "RADAR": "radar"}
    return {
        "category": [
            {"token": token("category", n), "name": f"kind.{n}", "description": "", "index": n}
            for n in range(CATEGORIES)
        ],
        "attribute": [{"token": token("attribute"), "name": "moving", "description": ""}],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "sensor": [
            {"token": token(name), "channel": name, "modality": modality[name.split("_")[0]]}
            for name in ROWS
        ],
        "log": logs,
        "map": [
            {"token": token("map"), "category": "semantic_prior", "filename": "maps/map.png",
             "log_tokens": [log["token"] for log in logs]}
        ],
        **{name: [] for name in ("instance", "calibrated_sensor", "ego_pose", "scene", "sample",
                                 "sample_data", "sample_annotation")},
    }  # fmt: skip


class _Scene:
    """Rows of one scene."""

    def __init__(self, tables: Tables, name: str, number: int, rng: np.random.Generator) -> None:
        self.tables, self.name, self.rng = tables, name, rng
        self.start_us = 1_532_400_000_000_000 + number * 100_000_000
        self.centre = np.array([600.0 + 10 * number, 1600.0, 0.0])
        self.samples = [token(name, "sample", n) for n in range(SAMPLES)]

    def write(self) -> None:
        """Add the rows to the tables."""
        self.tables["scene"].append(
            {"token": token(self.name), "log_token": self.tables["log"][0]["token"],
             "nbr_samples": SAMPLES, "first_sample_token": self.samples[0],
             "last_sample_token": self.samples[-1], "name": self.name, "description": ""}
        )  # fmt: skip
        self._chain(
            "sample",
            [{"token": sample, "timestamp": self.start_us + n * SAMPLE_US,
              "scene_token": token(self.name)} for n, sample in enumerate(self.samples)],
        )  # fmt: skip
        for channel, rows in ROWS.items():
            self._sensor(channel, rows)
        self._boxes()

    def _sensor(self, channel: str, count: int) -> None:
        mount = token(self.name, channel, "mount")
        lidar = channel == "LIDAR_TOP"
        self.tables["calibrated_sensor"].append(
            {"token": mount, "sensor_token": token(channel),
             **self._pose(np.array([0.94, 0.0, 1.84]), -np.pi / 2), "camera_intrinsic": []}
        )  # fmt: skip
        rows, every, done = [], count / SAMPLES, 0
        for i in range(count):
            is_key = i >= done * every and done < SAMPLES
            done += is_key
            time_us = self.start_us + i * (PERIOD_US if lidar else SAMPLES * SAMPLE_US // count)
            row = token(self.name, channel, i)
            stem = (
                f"{'samples' if is_key else 'sweeps'}/{channel}/{self.name}__{channel}__{time_us}"
            )
            self.tables["ego_pose"].append(
                {"token": row, "timestamp": time_us,
                 **self._pose(self.centre + [8e-6 * (time_us - self.start_us), 0.0, 0.0], 0.01 * i)}
            )  # fmt: skip
            rows.append(
                {"token": row, "sample_token": self.samples[done - 1], "ego_pose_token": row,
                 "calibrated_sensor_token": mount, "timestamp": time_us,
                 "fileformat": "pcd" if lidar else "jpg", "is_key_frame": bool(is_key), "height": 0,
                 "width": 0, "filename": f"{stem}.pcd.bin" if lidar else f"{stem}.jpg"}
            )  # fmt: skip
        self._chain("sample_data", rows)

    def _boxes(self) -> None:
        per_object: list[list[Row]] = [[] for _ in range(OBJECTS)]
        for n, sample in enumerate(self.samples):
            first = n * (OBJECTS - BOXES) // (SAMPLES - 1)
            for number in range(first, first + BOXES):
                per_object[number].append(
                    {"token": token(self.name, "box", number, n), "sample_token": sample,
                     "instance_token": token(self.name, "object", number), "visibility_token": "4",
                     "attribute_tokens": [token("attribute")],
                     **self._pose(self.centre + self.rng.uniform(-50, 50, 3), number),
                     "size": self.rng.uniform(0.5, 5, 3).round(3).tolist(),
                     "num_lidar_pts": int(self.rng.integers(0, 200)), "num_radar_pts": 0}
                )  # fmt: skip
        for number, rows in enumerate(per_object):
            self._chain("sample_annotation", rows)
            self.tables["instance"].append(
                {"token": token(self.name, "object", number),
                 "category_token": token("category", number % CATEGORIES),
                 "nbr_annotations": len(rows), "first_annotation_token": rows[0]["token"],
                 "last_annotation_token": rows[-1]["token"]}
            )  # fmt: skip

    def _chain(self, table: str, rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["prev"] = rows[i - 1]["token"] if i else ""
            row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""
        self.tables[table] += rows

    def _pose(self, translation: Any, yaw: float) -> Row:
        rotation = [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]
        return {"translation": [float(x) for x in translation], "rotation": rotation}


def _write_points(root: Path, names: list[str], rng: np.random.Generator) -> None:
    """Real files for the first names, hard links for the others, in turn."""
    written: list[Path] = []
    for folder in ("samples", "sweeps"):
        (root / folder / "LIDAR_TOP").mkdir(parents=True)
    for number, name in enumerate(name for name in names if name.endswith(".pcd.bin")):
        path = root / name
        if number < FILES:
            cloud(rng).tofile(path)
            written.append(path)
        else:
            os.link(written[number % FILES], path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    options = parser.parse_args()
    write_root(options.folder, scenes=options.scenes)
