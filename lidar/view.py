"""`foretell lidar view`: pictures of recorded sweeps, and a window to turn one around in."""

import logging
import os
import sys
from typing import Any

import numpy as np

from foretell.config import RunOptions
from foretell.errors import UserError, missing_package
from foretell.run import RunDirectory
from lidar.config import ViewConfig
from lidar.data.index import open_dataset
from lidar.data.log_view import LogView
from lidar.data.structures import Boxes, Sweep

_LOG = logging.getLogger(__name__)


def run(config: ViewConfig, options: RunOptions) -> None:
    """Draw sweeps into `figures/`: a PNG each, a GIF if there are several.

    Raises:
        UserError: Missing data, a log or sweep that does not exist, or no display for a window.
    """
    from lidar.figures import sweep_gif, sweep_view

    if config.window:
        check_display()
    log = open_dataset(config.data).select([config.log or "all"])[0]
    numbers = _sweep_numbers(config, log)
    sweeps = [_read(log, number, config.accumulate) for number in numbers]
    boxes = [log.boxes(number) if config.boxes else None for number in numbers]
    names = [log.sweep_offset + number for number in numbers]
    titles = [f"{log.name}, sweep {name}" for name in names]

    figures = RunDirectory.create("lidar-view", config, options).figures
    stem = log.name.replace("/", "_")
    for sweep, box, title, name in zip(sweeps, boxes, titles, names, strict=True):
        path = figures / f"{stem}_{name:06d}.png"
        sweep_view(path, sweep, log.sensor, boxes=box, title=title)
        _LOG.info("wrote %s", path)
    if len(sweeps) > 1:
        path = figures / f"{stem}_{names[0]:06d}-{names[-1]:06d}.gif"
        sweep_gif(path, sweeps, log.sensor, boxes=boxes, titles=titles)
        _LOG.info("wrote %s", path)
    if config.window:
        show(sweeps[0], boxes[0], title=titles[0])


def _sweep_numbers(config: ViewConfig, log: LogView) -> range:
    """Sweeps of the log that the configuration asks for."""
    for name, least in (("sweep", 0), ("count", 1), ("accumulate", 1)):
        if getattr(config, name) < least:
            raise UserError(f"--{name} must be at least {least}, got {getattr(config, name)}")
    end = config.sweep + config.count
    if end > len(log):
        raise UserError(
            f"log {log.name!r} has {len(log)} sweeps, so --sweep {config.sweep} --count "
            f"{config.count} ends beyond it; lower one of them"
        )
    return range(config.sweep, end)


def _read(log: LogView, number: int, accumulate: int) -> Sweep:
    """One sweep as recorded, or with the earlier ones joined to it."""
    return log.sweep(number) if accumulate == 1 else log.accumulated(number, accumulate)


def check_display() -> None:
    """Refuse a window where there is no screen, before anything is computed.

    Raises:
        UserError: On Linux without an X or Wayland display.
    """
    if sys.platform == "linux" and not (os.getenv("DISPLAY") or os.getenv("WAYLAND_DISPLAY")):
        raise UserError("--window true needs a display and there is none; leave it out")


def show(sweep: Sweep, boxes: Boxes | None, *, title: str) -> None:
    """Show points by height and boxes in an Open3D window until it is closed.

    Raises:
        UserError: Open3D is missing or cannot open a window.
    """
    try:
        import open3d
    except (ImportError, OSError):
        raise missing_package("open3d", "lidar") from None
    viewer = open3d.visualization.Visualizer()
    if not viewer.create_window(window_name=title):
        raise UserError("--window true: Open3D cannot open a window here; leave it out")
    for geometry in _geometries(open3d, sweep, boxes):
        viewer.add_geometry(geometry)
    viewer.run()
    viewer.destroy_window()


def _geometries(open3d: Any, sweep: Sweep, boxes: Boxes | None) -> list[Any]:
    """Open3D's cloud, one oriented box per object, and the sensor's axes."""
    from lidar.figures.bev import HEIGHT_SPAN_M
    from lidar.figures.style import EGO, colour_map

    xyz = sweep.points[:, :3].astype(np.float64)
    xyz = xyz[np.isfinite(xyz).all(axis=1)]
    low = float(np.quantile(xyz[:, 2], 0.02)) if len(xyz) else 0.0
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(xyz))
    cloud.colors = open3d.utility.Vector3dVector(
        colour_map("height")((xyz[:, 2] - low) / HEIGHT_SPAN_M)[:, :3]
    )
    geometries = [cloud, open3d.geometry.TriangleMesh.create_coordinate_frame(size=2.0)]
    for x, y, z, length, width, height, yaw in boxes.boxes if boxes is not None else ():
        turn = open3d.geometry.get_rotation_matrix_from_xyz((0.0, 0.0, yaw))
        box = open3d.geometry.OrientedBoundingBox((x, y, z), turn, (length, width, height))
        box.color = tuple(int(EGO[i : i + 2], 16) / 255 for i in (1, 3, 5))
        geometries.append(box)
    return geometries
