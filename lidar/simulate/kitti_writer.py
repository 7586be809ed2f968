"""Write drives as KITTI odometry sequences: velodyne/*.bin, calib.txt, times.txt, poses/NN.txt.

The axes are forward-left-up whatever the sensor; reflectance is intensity / 255. Drives get the
sequence numbers of SemanticKITTI's splits: training 00-07, 09, 10, validation 08, test 11-21.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.run import atomic_write
from lidar.geometry.se3 import invert, se3
from lidar.simulate.config import SimulateConfig
from lidar.simulate.drive import Drive, SimulatedSweep
from lidar.simulate.side_file import side_columns, write_side_file

CAM_SE3_VELO = se3(
    np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.array([0.0, -0.08, -0.27])
)
"""`Tr`: a camera just below and behind the sensor, z forward, x right, y down."""
_NUMBERS = {"train": [*range(8), 9, 10], "val": [8], "test": list(range(11, 22))}
_FIRST_SPARE = 22


def scene_names(config: SimulateConfig) -> list[str]:
    """Sequence number of every drive; 22 and up when a split has no number left."""
    free = {split: list(numbers) for split, numbers in _NUMBERS.items()}
    names, spare = [], _FIRST_SPARE
    for scene in range(config.scenes):
        numbers = free[config.split_of(scene)]
        names.append(f"{numbers.pop(0) if numbers else spare:02d}")
        spare += int(names[-1]) == spare
    return names


def write_scene(
    root: Path,
    config: SimulateConfig,
    drive: Drive,
    sweeps: Iterable[SimulatedSweep],
    *,
    scene: int,
    on_sweep: Callable[[], None],
) -> None:
    """Write one drive as a sequence."""
    name = scene_names(config)[scene]
    folder = root / "sequences" / name
    for child in ("velodyne", "truth"):
        (folder / child).mkdir(parents=True, exist_ok=True)
    rotation = drive.sensor.flu_R_lidar
    for sweep in sweeps:
        xyz = sweep.xyz @ rotation.T.astype(np.float32)
        rows = np.concatenate([xyz, sweep.intensity[:, None] / 255.0], axis=1, dtype="<f4")
        rows.tofile(folder / "velodyne" / f"{sweep.index:06d}.bin")
        side = side_columns(sweep, truth=config.truth, motion_distortion=config.motion_distortion)
        for key in ("normal", "flow_m"):
            if key in side:
                side[key] = (side[key] @ rotation.T).astype(side[key].dtype)
        write_side_file(folder / "truth" / f"{sweep.index:06d}.npz", side)
        on_sweep()
    offsets_s = np.array(drive.offsets_us) * 1e-6
    times = "".join(f"{time:.6f}\n" for time in offsets_s)
    row = " ".join(f"{value:.12e}" for value in CAM_SE3_VELO[:3].ravel())
    cameras = "".join(f"P{i}: 1 0 0 0 0 1 0 0 0 0 1 0\n" for i in range(4))
    atomic_write(folder / "times.txt", times)
    atomic_write(folder / "calib.txt", f"{cameras}Tr: {row}\n")
    poses = camera_poses(drive, offsets_s)
    lines = [" ".join(f"{value:.12e}" for value in pose[:3].ravel()) for pose in poses]
    atomic_write(root / "poses" / f"{name}.txt", "\n".join(lines) + "\n")


def finish(root: Path, config: SimulateConfig) -> None:
    """Nothing is left to do: the numbers of the sequences are the splits."""


def camera_poses(
    drive: Drive, offsets_s: Float64[ndarray, " sweeps"]
) -> Float64[ndarray, "sweeps 4 4"]:
    """cam0(0)_SE3_cam0(i) = Tr velo(0)_SE3_velo(i) Tr^-1."""
    mount = drive.sensor.ego_SE3_lidar.copy()
    mount[:3, :3] = np.eye(3)
    velo = drive.ego.poses(offsets_s) @ mount
    return np.asarray(CAM_SE3_VELO @ (invert(velo[0]) @ velo) @ invert(CAM_SE3_VELO))
