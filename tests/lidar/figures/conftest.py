"""A car that drives through a square room: rays whose true ranges are known."""

import numpy as np
import pytest

from lidar.data.structures import Boxes, SensorSpec, Sweep
from lidar.figures import ForecastFrame


def room_frame(horizon_s: float, *, num_rays: int = 3000) -> ForecastFrame:
    """Rays from a sensor moved 2 m/s forward; walls at 20 m, floor at -1.7 m."""
    rng = np.random.default_rng(3)
    azimuth = rng.uniform(-np.pi, np.pi, num_rays)
    elevation = rng.uniform(-0.4, 0.05, num_rays)
    direction = np.stack(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ],
        axis=1,
    )
    origin = np.array([2.0 * horizon_s, 0.0, 0.0])
    with np.errstate(divide="ignore"):
        walls = np.where(direction[:, :2] > 0, 20.0 - origin[:2], -20.0 - origin[:2])
        to_wall = (walls / direction[:, :2]).min(axis=1)
        to_floor = np.where(direction[:, 2] < 0, -1.7 / direction[:, 2], np.inf)
    true_m = np.minimum(to_wall, to_floor)
    t0_SE3_tn = np.eye(4)
    t0_SE3_tn[:3, 3] = origin
    return ForecastFrame(
        horizon_s=horizon_s,
        t0_SE3_tn=t0_SE3_tn,
        origin=origin,
        direction=direction,
        true_m=true_m,
        predicted_m={
            "trend": true_m + rng.normal(0, 0.1, num_rays),
            "copy_last": true_m + rng.normal(0, 0.5, num_rays),
        },
    )


@pytest.fixture
def frames() -> list[ForecastFrame]:
    """Two horizons of one window."""
    return [room_frame(0.5), room_frame(1.0)]


@pytest.fixture
def sensor() -> SensorSpec:
    """Axes of nuScenes: x right, y forward."""
    return SensorSpec(
        name="test sensor",
        height_m=1.7,
        flu_R_lidar=np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        ego_box=(0.0, 0.0, 0.0, 0.0),
        intensity_rule="as_delivered",
        num_rings=32,
    )


@pytest.fixture
def sweep() -> Sweep:
    """The room as one sweep with intensity."""
    points = room_frame(0.0).points().astype(np.float32)
    return Sweep(
        points=np.column_stack([points, np.ones(len(points), np.float32)]),
        columns=("x", "y", "z", "intensity"),
        timestamp_ns=0,
        global_SE3_lidar=np.eye(4),
    )


@pytest.fixture
def boxes() -> Boxes:
    """Eight categories, two cars."""
    names = ("car", "car", "bus", "truck", "bicycle", "pedestrian", "trailer", "barrier")
    place = np.linspace(-15, 15, len(names))
    box = np.stack([place, place[::-1], 0 * place, 4 + 0 * place, 2 + 0 * place, place, place], 1)
    return Boxes(
        boxes=box,
        velocity_mps=np.full((len(names), 2), np.nan),
        category=names,
        track_id=tuple(map(str, range(len(names)))),
        num_points=np.full(len(names), -1),
    )
