"""Spinning LiDARs: rings, columns, mounting, axes and firing order.

A sweep is fired column after column, each column from the lowest ring up. The azimuth in the
sensor's own axes falls (the sensor turns clockwise seen from above), from +180 to -180 degrees.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lidar.geometry.se3 import se3

_FLU_R_NUSCENES = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class LidarSensor:
    """One LiDAR and where it sits on the car."""

    name: str
    """Such as `HDL-32E`."""
    elevation_rad: tuple[float, ...]
    """Elevation of each ring, lowest first."""
    columns: int
    """Columns of one turn."""
    turn_s: float
    """Duration of one turn; the sweep time is its end."""
    forward_m: float
    """Sensor ahead of the rear axle."""
    height_m: float
    """Sensor above the ground."""
    flu_R_lidar: Float64[ndarray, "3 3"]
    """Rotates the sensor's axes to forward-left-up."""

    @property
    def rings(self) -> int:
        """Number of rings."""
        return len(self.elevation_rad)

    @property
    def ego_SE3_lidar(self) -> Float64[ndarray, "4 4"]:
        """Sensor pose; the ego frame lies on the ground below the rear axle."""
        return se3(self.flu_R_lidar, np.array([self.forward_m, 0.0, self.height_m]))

    def azimuth_rad(self) -> Float64[ndarray, " columns"]:
        """Azimuth of each column in the sensor's axes, atan2(y, x)."""
        return np.pi - (np.arange(self.columns) + 0.5) * (2 * np.pi / self.columns)

    def directions(self) -> Float64[ndarray, "columns rings 3"]:
        """Unit ray directions in the sensor's axes, in firing order."""
        azimuth = self.azimuth_rad()[:, None]
        elevation = np.asarray(self.elevation_rad)[None, :]
        flat = np.cos(elevation)
        return np.stack(
            np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)),
            axis=-1,
        )

    def column_time_s(self) -> Float64[ndarray, " columns"]:
        """Instant of each column relative to the sweep time, <= 0: -turn (1 - (c + 1)/columns)."""
        return -self.turn_s * (1.0 - (np.arange(self.columns) + 1.0) / self.columns)


def _radians(degrees: ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.radians(degrees))


def lidar_sensor(name: str) -> LidarSensor:
    """The preset of `SimulateConfig.sensor`.

    hdl32: Velodyne HDL-32E as mounted in nuScenes. hdl64: HDL-64E as in KITTI, two blocks of 32
    lasers. small: a coarse HDL-32E.
    """
    match name:
        case "hdl32":
            elevation = np.linspace(-30.67, 10.67, 32)
            return LidarSensor(
                "HDL-32E", _radians(elevation), 1084, 0.05, 0.94, 1.84, _FLU_R_NUSCENES
            )
        case "hdl64":
            lower, upper = np.linspace(-24.33, -8.83, 32), np.linspace(-8.33, 2.0, 32)
            elevation = np.concatenate([lower, upper])
            return LidarSensor("HDL-64E", _radians(elevation), 2000, 0.1, 0.76, 1.73, np.eye(3))
        case "small":
            elevation = np.linspace(-24.0, 4.0, 20)
            return LidarSensor(
                "small 20 x 360", _radians(elevation), 360, 0.05, 0.94, 1.84, _FLU_R_NUSCENES
            )
    raise ValueError(f"sensor must be hdl32, hdl64 or small, got {name!r}")
