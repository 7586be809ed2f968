"""An invented street, cheap enough to pretrain on in a test, and the command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from foretell.cli import main
from lidar.data.folder_writer import write_log
from lidar.data.structures import Boxes
from lidar.geometry.se3 import invert, se3, transform_points, yaw_matrix

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
HEIGHT_M = 1.8
STATIC = np.array(  # x_min y_min z_min x_max y_max z_max, global
    [
        [-30.0, 8.0, 0.0, 40.0, 9.0, 5.0],
        [-30.0, -9.0, 0.0, 40.0, -8.0, 5.0],
        [6.0, 4.0, 0.0, 8.0, 5.5, 2.5],
        [-9.0, -5.0, 0.0, -6.0, -3.5, 2.0],
        [14.0, -6.0, 0.0, 15.0, -5.0, 4.0],
    ]
)
CAR_SIZE = np.array([4.0, 2.0, 1.6])
CAR_SPEED_MPS = 3.0


def car_centre(time_s: float) -> np.ndarray:
    """A car that crosses the street ahead of the sensor's start, global frame."""
    return np.array([2.0 + CAR_SPEED_MPS * time_s, 3.0, 0.8])


def cast(global_SE3_lidar: np.ndarray, car: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns [N, 4] of 16 rings x 120 columns, sensor frame, intensity in [0, 1]."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(-22, 6, 16)), np.radians(np.arange(0, 360, 3)), indexing="ij"
    )
    local = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    ).reshape(-1, 3)
    origin, direction = global_SE3_lidar[:3, 3], local @ global_SE3_lidar[:3, :3].T
    boxes = np.vstack([STATIC, np.concatenate([car - CAR_SIZE / 2, car + CAR_SIZE / 2])])
    with np.errstate(divide="ignore"):
        ground = np.where(direction[:, 2] < 0, -origin[2] / direction[:, 2], np.inf)
        low = (boxes[:, None, :3] - origin) / direction
        high = (boxes[:, None, 3:] - origin) / direction
    near, far = np.minimum(low, high).max(-1), np.maximum(low, high).min(-1)
    hits = np.where((near < far) & (near > 0), near, np.inf)
    ranges = np.vstack([ground, hits])
    surface, distance = ranges.argmin(0), ranges.min(0)
    seen = distance < 40
    noisy = distance[seen] + rng.normal(0, 0.005, seen.sum())
    intensity = 0.1 + 0.8 * surface[seen] / len(boxes)
    return np.column_stack([local[seen] * noisy[:, None], intensity]).astype(np.float32)


def write_street(
    folder: Path, *, num_sweeps: int = 8, boxes: bool = True, seed: int = 0, speed_mps: float = 1.0
) -> Path:
    """A drive at 2 Hz in the own-folder layout; every sweep annotated if `boxes`."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(num_sweeps) * 0.5
    poses = np.stack(
        [
            se3(yaw_matrix(0.02 * n + 0.1 * seed), np.array([speed_mps * t, 0.0, HEIGHT_M]))
            for n, t in enumerate(times_s)
        ]
    )
    sweeps = [cast(pose, car_centre(t), rng) for pose, t in zip(poses, times_s, strict=True)]
    labels = {}
    for n, (pose, t) in enumerate(zip(poses, times_s, strict=True)):
        yaw = np.arctan2(pose[1, 0], pose[0, 0])
        centre = transform_points(invert(pose), car_centre(t)[None])[0]
        velocity = yaw_matrix(-yaw)[:2, :2] @ [CAR_SPEED_MPS, 0.0]
        labels[n] = Boxes(
            boxes=np.array([[*centre, *CAR_SIZE, -yaw]]),
            velocity_mps=velocity[None],
            category=("car",),
            track_id=("1",),
            num_points=np.array([5]),
        )
    return write_log(
        folder,
        sweeps,
        times_s=times_s,
        global_SE3_ego=poses,
        sensor_height_m=HEIGHT_M,
        boxes=labels if boxes else None,
    )


@pytest.fixture(scope="session")
def street_writer() -> Callable[..., Path]:
    """Writes one invented drive: `write_street`."""
    return write_street


@pytest.fixture(scope="session")
def tiny_yaml() -> Path:
    """Configuration of a model of a few thousand weights."""
    return FIXTURES / "trend_tiny.yaml"


@pytest.fixture(scope="session")
def street_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only data set: a training drive of 8 sweeps and a validation drive of 5, with boxes."""
    root = tmp_path_factory.mktemp("street")
    write_street(root / "first", num_sweeps=8)
    write_street(root / "second", num_sweeps=5, seed=1)
    (root / "splits.json").write_text(json.dumps({"train": ["first"], "val": ["second"]}))
    return root


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def foretell(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `foretell <words>` in this process."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def foretell_process() -> Callable[..., subprocess.Popen[str]]:
    """Starts `foretell <words>` as a process of its own."""

    def start(*words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "foretell", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def pretrained(
    tmp_path_factory: pytest.TempPathFactory, street_root: Path, tiny_yaml: Path
) -> Path:
    """Run folder of one tiny pretraining on the street, done once."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    words = ["lidar", "pretrain", "--config", tiny_yaml, "--data.root", street_root,
             "--data.val_splits", "[val]", "--out", out, "--quiet"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    return out
