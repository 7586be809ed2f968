"""Write one log in the documented folder layout (docs/own_data.md)."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from lidar.data.structures import Boxes


def write_log(
    folder: Path,
    sweeps: Iterable[Float32[ndarray, "_ columns"]],
    *,
    times_s: Float[ndarray, " sweeps"],
    global_SE3_ego: Float[ndarray, "sweeps 4 4"],
    columns: Sequence[str] = ("x", "y", "z", "intensity"),
    axes: str = "flu",
    sensor_height_m: float = 1.8,
    boxes: dict[int, Boxes] | None = None,
    **description: Any,
) -> Path:
    """Write a log that `data.kind: folder` reads.

    Args:
        folder: Folder of the log; its parent is the data set's root.
        sweeps: Points of each sweep, [N, len(columns)], in the sensor frame.
        times_s: Time of each sweep in seconds.
        global_SE3_ego: Vehicle pose (axes forward-left-up) at each sweep; the sensor's own pose
            unless `ego_SE3_lidar` is among `description`.
        columns: Names of the point columns; x, y, z first.
        axes: Where the sensor's x, y and z point: three of f b l r u d.
        sensor_height_m: Sensor origin above the ground.
        boxes: Annotated sweeps, by sweep number, in the sensor frame of that sweep.
        **description: Further keys of log.json, such as `intensity="divide_255"`.

    Returns:
        The folder.

    Raises:
        ValueError: Numbers of sweeps, times and poses differ.
    """
    (folder / "points").mkdir(parents=True, exist_ok=True)
    num_sweeps = 0
    for points in sweeps:
        if points.shape[1] != len(columns):
            raise ValueError(f"sweep {num_sweeps} has {points.shape[1]} columns, not {columns}")
        points.astype("<f4").tofile(folder / "points" / f"{num_sweeps:06d}.bin")
        num_sweeps += 1
    if not num_sweeps == len(times_s) == len(global_SE3_ego):
        raise ValueError(
            f"{num_sweeps} sweeps, {len(times_s)} times and {len(global_SE3_ego)} poses differ"
        )
    np.savetxt(folder / "times.txt", times_s, fmt="%.9f")
    np.save(folder / "poses.npy", np.asarray(global_SE3_ego, np.float64))
    content = {
        "columns": list(columns),
        "axes": axes,
        "sensor_height_m": sensor_height_m,
        **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in description.items()},
    }
    (folder / "log.json").write_text(json.dumps(content, indent=2))
    if boxes is not None:
        _write_boxes(folder / "boxes.npz", boxes)
    return folder


def _write_boxes(path: Path, boxes: dict[int, Boxes]) -> None:
    items = sorted(boxes.items())
    np.savez(
        path,
        sweep=np.repeat([i for i, _ in items], [len(b) for _, b in items]).astype(np.int64),
        box=np.concatenate([np.zeros((0, 7)), *(b.boxes for _, b in items)]),
        velocity=np.concatenate([np.zeros((0, 2)), *(b.velocity_mps for _, b in items)]),
        category=np.array([name for _, b in items for name in b.category], np.str_),
        track_id=np.array([name for _, b in items for name in b.track_id], np.str_),
        num_points=np.concatenate([np.zeros(0, np.int64), *(b.num_points for _, b in items)]),
    )
