"""KITTI and SemanticKITTI odometry folders.

    <root>/sequences/NN/velodyne/NNNNNN.bin   float32 [N, 4] x y z reflectance (or .bin.gz)
    <root>/sequences/NN/{calib.txt, times.txt}
    <root>/sequences/NN/poses.txt  or  <root>/poses/NN.txt

The LiDAR axes are x forward, y left, z up. Row i of the poses is P_i = cam0(0)_SE3_cam0(i) and
`Tr` of calib.txt is cam0_SE3_velo, hence velo(0)_SE3_velo(i) = Tr^-1 P_i Tr. The recording has no
ego frame of its own: the LiDAR frame serves as it. `labels/` is never read.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.point_files import check_size, read_binary
from lidar.data.structures import SensorSpec
from lidar.data.tables import LogTable, Progress, Source, nanoseconds, no_progress
from lidar.geometry.se3 import invert, is_rigid

COLUMNS = ("x", "y", "z", "intensity")
SENSOR = SensorSpec(
    name="HDL-64E",
    height_m=1.73,
    flu_R_lidar=np.eye(3),
    ego_box=(0.0, 0.0, 0.0, 0.0),
    intensity_rule="as_delivered",
    num_rings=64,
)
# SemanticKITTI's split; the published poses end with sequence 10.
SPLITS = {
    "train": [f"{n:02d}" for n in (*range(8), 9, 10)],
    "val": ["08"],
    "test": [f"{n:02d}" for n in range(11, 22)],
}
_SOURCE_URL = "https://www.cvlibs.net/datasets/kitti/eval_odometry.php"


def sequence_folders(config: DataConfig) -> list[Path]:
    """The sequence folders under the root that hold sweeps, by name.

    Raises:
        UserError: There is none.
    """
    root = Path(config.root)
    for base in (root, root / "dataset"):
        folders = sorted(path.parent for path in base.glob("sequences/*/velodyne"))
        if folders:
            return folders
    raise UserError(
        f"no KITTI odometry sequence under {root}: looked for {root}/sequences/<NN>/velodyne; "
        f"download the velodyne, calibration and pose archives from {_SOURCE_URL}, or make a "
        "drive with `foretell lidar simulate`"
    )


def fingerprint_files(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """Tables whose content, and folders whose listing, the index depends on."""
    folders = sequence_folders(config)
    tables = [folder / name for folder in folders for name in ("calib.txt", "times.txt")]
    poses = [path for folder in folders if (path := _pose_file(folder)) is not None]
    return [*tables, *poses], [folder / "velodyne" for folder in folders]


def read_source(config: DataConfig, *, progress: Progress = no_progress) -> Source:
    """Read the tables of every sequence that has poses.

    Raises:
        UserError: A table is missing, short or malformed.
    """
    root = Path(config.root)
    folders = sequence_folders(config)
    logs, skipped = [], []
    for done, folder in enumerate(folders):
        progress("sequences", done, len(folders))
        if _pose_file(folder) is None:
            skipped.append(
                f"sequence {folder.name}: no poses (looked for {folder / 'poses.txt'} and "
                f"{folder.parents[1] / 'poses' / (folder.name + '.txt')})"
            )
            continue
        logs.append(_read_sequence(folder, root))
        skipped += _missing_sweeps(logs[-1])
    if not logs:
        raise UserError(f"no sequence under {root} can be used: {'; '.join(skipped)}")
    found = {log.name for log in logs}
    splits = {name: [log for log in names if log in found] for name, names in SPLITS.items()}
    return Source(
        logs=logs,
        sensor=SENSOR,
        columns=COLUMNS,
        splits={name: names for name, names in splits.items() if names},
        skipped=skipped,
    )


def read_points(path: Path) -> Float32[ndarray, "points 4"]:
    """One sweep: x y z in metres, reflectance in [0, 1]."""
    return read_binary(path, len(COLUMNS))


def read_pose_rows(path: Path) -> Float64[ndarray, "rows 4 4"]:
    """The 3x4 row-major matrices of a KITTI pose file, made homogeneous."""
    rows = _read_numbers(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :] = rows.reshape(-1, 3, 4)
    return poses


def read_calibration(path: Path) -> Float64[ndarray, "4 4"]:
    """`Tr` of a calib.txt: cam0_SE3_velo.

    Raises:
        UserError: The file or its `Tr` row is missing or malformed, or no rigid motion.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError:
        raise UserError(f"{path} is missing; it comes with the calibration archive") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text; copy it again from the calibration archive") from None
    for line in lines:
        key, _, values = line.partition(":")
        if key.strip() in ("Tr", "Tr_velo_cam", "Tr_velo_to_cam"):
            try:
                row = np.array([float(value) for value in values.split()]).reshape(3, 4)
            except ValueError:
                raise UserError(f"{path}: the row {key} must hold 12 numbers") from None
            cam_SE3_velo = np.vstack([row, [0.0, 0.0, 0.0, 1.0]])
            if not is_rigid(cam_SE3_velo):
                raise UserError(
                    f"{path}: the row {key} is not a rigid motion (NaN, or a rotation that is not "
                    "orthonormal); copy the file again from the calibration archive"
                )
            return cam_SE3_velo
    raise UserError(f"{path} has no row `Tr:` (cam0_SE3_velo, 12 numbers)")


def _read_sequence(folder: Path, root: Path) -> LogTable:
    files = sorted(
        path for path in (folder / "velodyne").iterdir() if path.name.endswith((".bin", ".bin.gz"))
    )
    if not files:
        raise UserError(f"{folder / 'velodyne'} holds no .bin or .bin.gz sweep")
    for path in files:
        if path.suffix == ".bin":
            check_size(path, path.stat().st_size, len(COLUMNS))
    try:
        rows = np.array([_number(path) for path in files])
    except ValueError:
        raise UserError(
            f"{folder / 'velodyne'}: sweep files must be named by their number, like 000000.bin"
        ) from None
    if len(np.unique(rows)) != len(rows):
        raise UserError(f"{folder / 'velodyne'} holds a sweep twice (.bin and .bin.gz); remove one")
    pose_file = _pose_file(folder)
    assert pose_file is not None
    poses = read_pose_rows(pose_file)
    times_ns = nanoseconds(_read_numbers(folder / "times.txt", 1)[:, 0], folder / "times.txt")
    for path, length in ((pose_file, len(poses)), (folder / "times.txt", len(times_ns))):
        if length <= rows[-1]:
            raise UserError(
                f"{path} has {length} rows, but the sweep {files[-1].name} needs row "
                f"{int(rows[-1]) + 1}; use the pose and time files of this sequence"
            )
    cam_SE3_velo = read_calibration(folder / "calib.txt")
    global_SE3_lidar = invert(cam_SE3_velo) @ poses[rows] @ cam_SE3_velo
    return LogTable(
        name=folder.name,
        timestamps_ns=times_ns[rows],
        global_SE3_ego=global_SE3_lidar,
        global_SE3_lidar=global_SE3_lidar,
        is_key=np.ones(len(files), bool),
        files=tuple(str(path.relative_to(root)) for path in files),
    )


def _missing_sweeps(log: LogTable) -> list[str]:
    """A line on the numbers that are left out between the first and the last sweep, if any."""
    numbers = [_number(Path(name)) for name in log.files]
    missing = sorted(set(range(min(numbers), max(numbers))) - set(numbers))
    if not missing:
        return []
    return [
        f"sequence {log.name}: no file of {len(missing)} sweep(s) between its first and its last, "
        f"first {missing[0]:06d}"
    ]


def _number(path: Path) -> int:
    return int(path.name.split(".")[0])


def _pose_file(folder: Path) -> Path | None:
    candidates = (folder / "poses.txt", folder.parents[1] / "poses" / f"{folder.name}.txt")
    return next((path for path in candidates if path.is_file()), None)


def _read_numbers(path: Path, num_columns: int) -> Float64[ndarray, "rows columns"]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # loadtxt warns of an empty file
            rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; it comes with the calibration archive") from None
    except ValueError as error:
        raise UserError(f"{path} is not a table of numbers: {error}") from None
    if len(rows) and rows.shape[1] != num_columns:
        raise UserError(f"{path} must have {num_columns} number(s) a row, got {rows.shape[1]}")
    return rows.reshape(-1, num_columns)
