"""Own recordings: one documented folder per log (docs/own_data.md).

<root>/<log>/log.json          columns, axes, sensor height, rate
<root>/<log>/points/*.bin|npy  float32 [N, >= 3] a sweep, in the order of their names
<root>/<log>/poses.npy|txt     global_SE3_ego, [T, 4, 4] or KITTI-like 3x4 rows
<root>/<log>/times.txt         seconds; optional where log.json gives rate_hz
<root>/<log>/boxes.npz|parquet optional
<root>/splits.json             optional: split name to log names
"""

import json
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from foretell.errors import UserError, nearest
from lidar.config import DataConfig
from lidar.data.folder_boxes import read_boxes
from lidar.data.folder_log import LogDescription, read_description
from lidar.data.point_files import check_points, check_size, missing_sweep, read_binary
from lidar.data.tables import LogTable, Progress, Source, nanoseconds, no_progress
from lidar.geometry.se3 import invert, se3

_TABLES = (
    "log.json", "poses.npy", "poses.txt", "times.txt", "boxes.npz", "boxes.parquet",
)  # fmt: skip


def log_folders(config: DataConfig) -> list[Path]:
    """The folders under the root that hold a log.json; the root itself may be a log.

    Raises:
        UserError: There is none.
    """
    root = Path(config.root)
    if (root / "log.json").is_file():
        return [root]
    folders = sorted(path.parent for path in root.glob("*/log.json"))
    if not folders:
        raise UserError(
            f"no log under {root}: looked for {root}/<log>/log.json; docs/own_data.md describes "
            "the folder, and lidar.data.folder_writer.write_log writes it"
        )
    return folders


def fingerprint_files(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """Tables whose content, and folders whose listing, the index depends on."""
    folders = log_folders(config)
    tables = [folder / name for folder in folders for name in _TABLES]
    return [*tables, Path(config.root) / "splits.json"], [f / "points" for f in folders]


def read_source(config: DataConfig, *, progress: Progress = no_progress) -> Source:
    """Read the tables of every log.

    Raises:
        UserError: A file is missing or malformed, or the logs come from different sensors.
    """
    root = Path(config.root)
    folders = log_folders(config)
    logs, descriptions = [], []
    for done, folder in enumerate(folders):
        progress("logs", done, len(folders))
        descriptions.append(read_description(folder / "log.json"))
        logs.append(_read_log(folder, root, descriptions[-1]))
    first = descriptions[0]
    for folder, other in zip(folders, descriptions, strict=True):
        if not first.same_sensor(other):
            raise UserError(
                f"{folder / 'log.json'} describes another sensor or other columns than "
                f"{folders[0] / 'log.json'}; keep such logs under separate roots"
            )
    return Source(
        logs=logs,
        sensor=first.sensor,
        columns=first.columns,
        splits=_splits(root, [log.name for log in logs]),
        skipped=[
            f"{points.parent}: no log.json"
            for points in sorted(root.glob("*/points"))
            if points.parent not in folders and folders != [root]
        ],
    )


def read_points(path: Path, num_columns: int) -> Float32[ndarray, "points columns"]:
    """One sweep, .bin or .npy.

    Raises:
        UserError: The file is missing, damaged or of another shape.
    """
    if path.suffix != ".npy":
        return read_binary(path, num_columns)
    try:
        points = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise missing_sweep(path) from None
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read the sweep {path}: {error}; write it again") from None
    if points.ndim != 2 or points.shape[1] != num_columns or points.dtype.kind not in "fiu":
        raise UserError(
            f"the sweep {path} holds {points.dtype} {list(points.shape)}; log.json promises "
            f"float32 [N, {num_columns}]"
        )
    points = np.ascontiguousarray(points, np.float32)
    check_points(path, points)
    return points


def _read_log(folder: Path, root: Path, description: LogDescription) -> LogTable:
    files = sorted(
        path for path in (folder / "points").glob("*") if path.name.endswith((".bin", ".npy"))
    )
    if not files:
        raise UserError(f"{folder / 'points'} holds no .bin or .npy sweep")
    for path in files:
        if path.suffix == ".bin":
            check_size(path, path.stat().st_size, len(description.columns))
    poses = _read_poses(folder)
    timestamps_ns = _read_times(folder, description, len(files))
    for what, length in (("poses", len(poses)), ("times.txt", len(timestamps_ns))):
        if length != len(files):
            raise UserError(
                f"{folder}: {what} has {length} rows for {len(files)} sweep files; give one row "
                "per sweep, in the order of the file names"
            )
    mount = description.ego_SE3_lidar
    if mount is None:  # the poses are the LiDAR's own; its level axes serve as the vehicle's
        global_SE3_lidar = poses
        global_SE3_ego = poses @ invert(se3(description.sensor.flu_R_lidar, np.zeros(3)))
    else:
        global_SE3_lidar, global_SE3_ego = poses @ mount, poses
    return LogTable(
        name=folder.resolve().name,  # the root itself may be given as "."
        timestamps_ns=timestamps_ns,
        global_SE3_ego=global_SE3_ego,
        global_SE3_lidar=global_SE3_lidar,
        is_key=np.ones(len(files), bool),
        files=tuple(str(path.relative_to(root)) for path in files),
        boxes=read_boxes(folder, len(files), every_sweep=description.every_sweep_labelled),
    )


def _read_poses(folder: Path) -> Float64[ndarray, "rows 4 4"]:
    if (folder / "poses.npy").is_file():
        try:
            stored = np.load(folder / "poses.npy", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"cannot read {folder / 'poses.npy'}: {error}; write float64 [T, 4, 4] again"
            ) from None
        if stored.ndim == 3 and stored.shape[1:] == (4, 4):
            return np.asarray(stored, np.float64)
        raise UserError(f"{folder / 'poses.npy'} must be [T, 4, 4], got {list(stored.shape)}")
    rows = _numbers(folder / "poses.txt", "poses.npy or poses.txt (global_SE3_ego)")
    if rows.shape[1] not in (12, 16):
        raise UserError(f"{folder / 'poses.txt'} must have 12 or 16 numbers a row")
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :] = rows[:, :12].reshape(-1, 3, 4)
    return poses


def _read_times(
    folder: Path, description: LogDescription, num_sweeps: int
) -> Int64[ndarray, " rows"]:
    if not (folder / "times.txt").is_file() and description.rate_hz:
        times_s = np.arange(num_sweeps) / description.rate_hz
    else:
        times_s = _numbers(folder / "times.txt", "times.txt (seconds), or rate_hz in log.json")[
            :, 0
        ]
    return nanoseconds(times_s, folder / "times.txt")


def _numbers(path: Path, what: str) -> Float64[ndarray, "rows columns"]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # loadtxt warns of an empty file
            return np.loadtxt(path, dtype=np.float64, ndmin=2)
    except FileNotFoundError:
        raise UserError(f"{path.parent} needs {what}; see docs/own_data.md") from None
    except ValueError as error:
        raise UserError(f"{path} is not a table of numbers: {error}") from None


def _splits(root: Path, logs: list[str]) -> dict[str, list[str]]:
    path = root / "splits.json"
    if not path.is_file():
        return {}
    try:
        splits = {str(k): [str(log) for log in v] for k, v in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError):
        raise UserError(
            f"{path} must be a JSON object from split name to a list of log names"
        ) from None
    for name, members in splits.items():
        for log in members:
            if log not in logs and (root / log).is_dir():
                raise UserError(
                    f"{path}: split {name!r} names {log!r}, but {root / log}/log.json is missing; "
                    "write it (docs/own_data.md)"
                )
            if log not in logs:
                raise UserError(f"{path}: split {name!r} names no log {log!r}{nearest(log, logs)}")
    return splits
