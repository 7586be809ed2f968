"""Figures of forecasts, sweeps and training: arrays in, PNG or GIF files out, drawn headless."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lidar.figures.bev import bev_comparison
    from lidar.figures.drive import drive_gif
    from lidar.figures.errors import error_histogram, horizon_curves
    from lidar.figures.frame import ForecastFrame
    from lidar.figures.range_image import range_images
    from lidar.figures.sweep import sweep_gif, sweep_view
    from lidar.figures.training import training_curves

_MODULE_OF = {
    "ForecastFrame": "frame",
    "bev_comparison": "bev",
    "drive_gif": "drive",
    "error_histogram": "errors",
    "horizon_curves": "errors",
    "range_images": "range_image",
    "sweep_gif": "sweep",
    "sweep_view": "sweep",
    "training_curves": "training",
}

__all__ = [
    "ForecastFrame",
    "bev_comparison",
    "drive_gif",
    "error_histogram",
    "horizon_curves",
    "range_images",
    "sweep_gif",
    "sweep_view",
    "training_curves",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
