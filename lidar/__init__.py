"""LiDAR head: pretrain a 3D backbone by forecasting sweeps with a temporal neural field."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lidar.config import PretrainConfig, TrendConfig
    from lidar.data.structures import Boxes, SensorSpec, Sweep
    from lidar.trend import Trend

__all__ = ["Boxes", "PretrainConfig", "SensorSpec", "Sweep", "Trend", "TrendConfig"]

_HOME = {
    "Boxes": "lidar.data.structures",
    "PretrainConfig": "lidar.config",
    "SensorSpec": "lidar.data.structures",
    "Sweep": "lidar.data.structures",
    "Trend": "lidar.trend",
    "TrendConfig": "lidar.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'lidar' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
