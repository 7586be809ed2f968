"""A small analytic scene, ray-cast in closed form, and evaluation windows made from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.log_view import LogView
from lidar.data.structures import SensorSpec
from lidar.data.windows import Window
from lidar.geometry.se3 import invert, transform_points

SENSOR_HEIGHT_M = 1.8
MAX_RANGE_M = 60.0
SENSOR = SensorSpec(
    name="test", height_m=SENSOR_HEIGHT_M, flu_R_lidar=np.eye(3), ego_box=(0.0, 0.0, 0.0, 0.0),
    intensity_rule="as_delivered", num_rings=24,
)  # fmt: skip
LOG = LogView(
    name="log", kind="folder", root=Path(), sensor=SENSOR, point_columns=("x", "y", "z"),
    arrays={"labelled": np.zeros(9, bool)}, categories=(), first=0, last=9,
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Ground plane z = -1.8 and axis-aligned boxes, given in the t0 sensor frame."""

    boxes: np.ndarray
    """[boxes, 6] x_min y_min z_min x_max y_max z_max."""
    velocity_mps: np.ndarray
    """[boxes, 2]."""

    def cast(self, origin: np.ndarray, direction: np.ndarray, t_s: float) -> np.ndarray:
        """First hit along every ray in metres, infinity for the sky."""
        with np.errstate(divide="ignore"):
            ground = (-SENSOR_HEIGHT_M - origin[2]) / direction[:, 2]
        nearest = np.where(ground > 0, ground, np.inf)
        safe = np.where(direction == 0, 1e-12, direction)
        for box, velocity in zip(self.boxes, self.velocity_mps, strict=True):
            shift = np.tile([*(velocity * t_s), 0.0], 2)
            low, high = (box + shift)[:3], (box + shift)[3:]
            a, b = (low - origin) / safe, (high - origin) / safe
            enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
            nearest = np.where((enter < leave) & (enter > 0), np.minimum(nearest, enter), nearest)
        return nearest


def scan_directions(step_deg: float) -> np.ndarray:
    """Directions through the centres of angular bins of that size, elevation -20..+4 degrees."""
    azimuth = np.radians(np.arange(-180, 180, step_deg) + step_deg / 2)
    elevation = np.radians(np.arange(-20, 4, step_deg) + step_deg / 2)
    azimuth, elevation = (grid.ravel() for grid in np.meshgrid(azimuth, elevation))
    return np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Drive:
    """Makes windows: a sensor with given poses looks at a scene."""

    scene: Scene
    step_deg: float = 1.0
    noise_m: float = 0.0
    poses: Sequence[np.ndarray] = field(default_factory=lambda: [np.eye(4)] * 3)
    """t0_SE3_tn of t0 and the horizons."""
    times_s: Sequence[float] = (0.0, 0.5, 1.0)
    history: Sequence[tuple[np.ndarray, float]] = ()
    """(t0_SE3_sensor, seconds) of earlier input sweeps."""

    def window(self, name: str = "log/000000", seed: int = 0) -> EvaluationWindow:
        rng = np.random.default_rng(seed)
        frames = [self._scan(rng, p, t) for p, t in zip(self.poses, self.times_s, strict=True)]
        t0_points = self._points(self.poses[0], frames[0])
        history = [self._points(p, self._scan(rng, p, t)) for p, t in self.history]
        num_horizons = len(frames) - 1
        ground_tn = [
            self._points(np.eye(4), frame)[:, 2] < -SENSOR_HEIGHT_M + 0.3 for frame in frames
        ]
        return EvaluationWindow(
            points=np.pad(t0_points, ((0, 0), (0, 1))).astype(np.float32),
            t_s=np.array(self.times_s, np.float32),
            t0_SE3_tn=np.stack(self.poses),
            action=np.zeros((num_horizons, 3), np.float32),
            origin=tuple(np.array(p[:3, 3], np.float32) for p in self.poses),
            direction=tuple(
                (d @ p[:3, :3].T).astype(np.float32)
                for p, (d, _) in zip(self.poses, frames, strict=True)
            ),
            range_m=tuple(r.astype(np.float32) for _, r in frames),
            intensity=tuple(np.zeros(len(r), np.float32) for _, r in frames),
            is_ground=tuple(ground_tn),
            t0_points=t0_points.astype(np.float32),
            history_points=np.concatenate([t0_points, *history]).astype(np.float32),
            name=name,
            window=Window(LOG, 0, tuple(range(1, num_horizons + 1)), 0),
            row=tuple(np.arange(len(r)) for _, r in frames),
        )

    def _scan(
        self, rng: np.random.Generator, pose: np.ndarray, t_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        direction = scan_directions(self.step_deg)
        range_m = self.scene.cast(pose[:3, 3], direction @ pose[:3, :3].T, t_s)
        seen = range_m < MAX_RANGE_M
        noise_m = rng.normal(0, self.noise_m, seen.sum()) if self.noise_m else 0.0
        return direction[seen], range_m[seen] + noise_m

    @staticmethod
    def _points(pose: np.ndarray, scan: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return transform_points(pose, scan[0] * scan[1][:, None])


@pytest.fixture
def static_scene() -> Scene:
    boxes = np.array(
        [
            [8, 3, -1.8, 12, 5, -0.2],
            [15, -6, -1.8, 19, -4, 0],
            [-14, -5, -1.8, -10, -3, -0.2],
            [-30, 12, -1.8, 30, 13, 3],
            [-30, -15, -1.8, 30, -14, 3],
        ],
        float,
    )
    return Scene(boxes, np.zeros((5, 2)))


@pytest.fixture
def moving_scene(static_scene: Scene) -> Scene:
    car = np.array([[6, -2, -1.8, 10, 0, -0.2]], float)
    return Scene(
        np.concatenate([static_scene.boxes, car]),
        np.concatenate([static_scene.velocity_mps, [[6.0, 0.0]]]),
    )


@pytest.fixture
def drive() -> Callable[..., Drive]:
    """`Drive(scene, ...)` without importing this file."""
    return Drive


@pytest.fixture
def forward_pose() -> Callable[[float, float], np.ndarray]:
    """t0_SE3_tn of a sensor that went forward by x metres and turned by yaw."""

    def pose(x_m: float, yaw_rad: float) -> np.ndarray:
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        return np.array([[c, -s, 0, x_m], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

    assert np.allclose(invert(pose(1, 0))[:3, 3], [-1, 0, 0])
    return pose
