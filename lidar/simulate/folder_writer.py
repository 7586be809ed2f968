"""Write drives as own recordings: one documented folder per drive (docs/own_data.md)."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from foretell.run import atomic_write
from lidar.data.folder_writer import write_log
from lidar.data.structures import Boxes
from lidar.geometry.se3 import invert, wrap_angle
from lidar.simulate.config import SimulateConfig
from lidar.simulate.drive import Drive, SimulatedSweep
from lidar.simulate.side_file import side_columns, write_side_file

COLUMNS = ("x", "y", "z", "intensity")


def scene_names(config: SimulateConfig) -> list[str]:
    """sim-0000, sim-0001, ..."""
    return [f"sim-{scene:04d}" for scene in range(config.scenes)]


def write_scene(
    root: Path,
    config: SimulateConfig,
    drive: Drive,
    sweeps: Iterable[SimulatedSweep],
    *,
    scene: int,
    on_sweep: Callable[[], None],
) -> None:
    """Write one drive as a log folder; boxes of its key sweeps in the sensor frame."""
    folder = root / scene_names(config)[scene]
    boxes: dict[int, Boxes] = {}
    if config.truth or config.motion_distortion:
        (folder / "truth").mkdir(parents=True, exist_ok=True)

    def points() -> Iterator[Float32[ndarray, "_ columns"]]:
        for sweep in sweeps:
            if sweep.is_key:
                boxes[sweep.index] = sensor_boxes(drive, sweep)
            side = side_columns(
                sweep, truth=config.truth, motion_distortion=config.motion_distortion
            )
            write_side_file(folder / "truth" / f"{sweep.index:06d}.npz", side)
            on_sweep()
            yield np.concatenate([sweep.xyz, sweep.intensity[:, None]], axis=1, dtype=np.float32)

    offsets_s = np.array(drive.offsets_us) * 1e-6
    write_log(
        folder,
        points(),
        times_s=offsets_s,
        global_SE3_ego=drive.ego.poses(offsets_s),
        columns=COLUMNS,
        axes="flu" if np.array_equal(drive.sensor.flu_R_lidar, np.eye(3)) else "rfu",
        sensor_height_m=drive.sensor.height_m,
        boxes=boxes,
        sensor=drive.sensor.name,
        intensity="divide_255",
        num_rings=drive.sensor.rings,
        ego_SE3_lidar=drive.sensor.ego_SE3_lidar,
    )


def finish(root: Path, config: SimulateConfig) -> None:
    """Write splits.json."""
    splits: dict[str, list[str]] = {}
    for scene, name in enumerate(scene_names(config)):
        splits.setdefault(config.split_of(scene), []).append(name)
    atomic_write(root / "splits.json", json.dumps(splits, indent=2))


def sensor_boxes(drive: Drive, sweep: SimulatedSweep) -> Boxes:
    """The boxes of a sweep in its sensor frame."""
    sensor_SE3_world = invert(sweep.world_SE3_ego @ drive.sensor.ego_SE3_lidar)
    rotation = sensor_SE3_world[:3, :3]
    truth, there = sweep.boxes, np.nonzero(sweep.boxes.present)[0]
    centre = truth.centre[there] @ rotation.T + sensor_SE3_world[:3, 3]
    yaw, zeros = truth.yaw[there], np.zeros(len(there))
    heading = np.stack([np.cos(yaw), np.sin(yaw), zeros], axis=1) @ rotation.T
    velocity = np.column_stack([truth.velocity[there], zeros]) @ rotation.T
    size = np.array([drive.actors[i].body.size_lwh for i in there]).reshape(-1, 3)
    turned = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
    return Boxes(
        boxes=np.column_stack([centre, size, turned]),
        velocity_mps=velocity[:, :2],
        category=tuple(drive.actors[i].name for i in there),
        track_id=tuple(f"{i:04d}" for i in there),
        num_points=truth.num_points[there].astype(np.int64),
    )
