"""One sweep as it was recorded: from above with its boxes, and as a range image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.data.structures import Boxes, SensorSpec, Sweep
from lidar.figures.bev import (
    HEIGHT_SPAN_M,
    Extent,
    common_extent,
    draw_ego,
    draw_points,
    draw_scale_bar,
)
from lidar.figures.gif import save_gif
from lidar.figures.range_image import SphericalView, draw_range_image
from lidar.figures.style import (
    DPI,
    EGO,
    LINE_COLOURS,
    MUTED,
    colour_bar,
    colour_map,
    house_style,
    new_figure,
    render,
    save_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

_BEV_IN = 6.4
_STRIP_IN = 0.78


def sweep_view(
    path: Path,
    sweep: Sweep,
    sensor: SensorSpec,
    *,
    boxes: Boxes | None = None,
    extent: Extent | None = None,
    title: str = "",
) -> Path:
    """Draw a sweep from above, forward up, with its boxes, over its range image.

    Args:
        path: PNG to write.
        sweep: Points in their delivered frame; accumulated sweeps are drawn together.
        sensor: Axes of the points and number of rings.
        boxes: Annotated objects of the sweep, if any.
        extent: Limits in metres; none = the square that holds 97 % of the points.
        title: Line above the figure.
    """
    with house_style():
        return save_png(_draw(sweep, sensor, boxes, extent, title), path)


def sweep_gif(
    path: Path,
    sweeps: Sequence[Sweep],
    sensor: SensorSpec,
    *,
    boxes: Sequence[Boxes | None] = (),
    titles: Sequence[str] = (),
    frame_s: float | None = None,
    max_bytes: int = 2_000_000,
) -> Path:
    """Draw consecutive sweeps as `sweep_view` does, into one GIF at the pace of the drive."""
    if not sweeps:
        raise ValueError("sweep_gif: there is no sweep to draw")
    extent = common_extent([_flu(sweep, sensor) for sweep in sweeps])
    if frame_s is None:
        stamps = np.array([sweep.timestamp_ns for sweep in sweeps], np.int64)
        frame_s = float(np.median(np.diff(stamps))) / 1e9 if len(sweeps) > 1 else 1.0

    def draw(index: int, dpi: int) -> "Image":
        box = boxes[index] if boxes else None
        title = titles[index] if titles else ""
        return render(_draw(sweeps[index], sensor, box, extent, title, dpi=dpi))

    with house_style():
        return save_gif(path, draw, len(sweeps), frame_s=frame_s, max_bytes=max_bytes)


def _flu(sweep: Sweep, sensor: SensorSpec) -> Float[ndarray, "points 3"]:
    """Finite points of a sweep in forward-left-up axes."""
    xyz = sweep.points[:, :3].astype(np.float64)
    finite = xyz[np.isfinite(xyz).all(axis=1)]
    if not len(finite):
        raise ValueError(f"sweep at {sweep.timestamp_ns} ns has no finite point to draw")
    return np.asarray(finite @ sensor.flu_R_lidar.T, np.float64)


def _draw(
    sweep: Sweep,
    sensor: SensorSpec,
    boxes: Boxes | None,
    extent: Extent | None,
    title: str,
    *,
    dpi: int = DPI,
) -> "Figure":
    """Lay out the two views of one sweep."""
    points = _flu(sweep, sensor)
    extent = extent or common_extent([points])
    ground_m = -sensor.height_m - 0.4
    width, height = _BEV_IN + 1.2, _BEV_IN + _STRIP_IN + 0.98
    figure = new_figure(width, height, dpi=dpi)

    def place(left: float, bottom: float, wide: float, high: float) -> "Axes":
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    bev = place(0.2, 0.36 + _STRIP_IN + 0.26, _BEV_IN, _BEV_IN)
    drawn = draw_points(
        bev,
        points,
        points[:, 2],
        limits=(ground_m, ground_m + HEIGHT_SPAN_M),
        cmap=colour_map("height"),
        extent=extent,
        size_px=1.8,
    )
    if boxes is not None and len(boxes):
        draw_boxes(bev, boxes, sensor.flu_R_lidar)
    draw_ego(bev, np.eye(4), sensor.flu_R_lidar)
    draw_scale_bar(bev, extent)
    bev.set_title(title, loc="left")
    bev.set_title(
        f"{len(points):,} points, {sensor.name}", loc="right", fontweight="normal", fontsize=9
    )
    colour_bar(
        figure,
        drawn,
        "height (m)",
        box_in=(_BEV_IN + 0.36, 0.36 + _STRIP_IN + 0.26 + 0.2 * _BEV_IN, 0.1, 0.6 * _BEV_IN),
        extend="both",
    )
    strip = place(0.2, 0.36, _BEV_IN, _STRIP_IN)
    shown = draw_range_image(
        strip,
        points,
        SphericalView.fit([points]),
        far_m=float(np.quantile(np.linalg.norm(points, axis=1), 0.98)),
    )
    colour_bar(
        figure, shown, "range (m)", box_in=(_BEV_IN + 0.36, 0.36, 0.1, _STRIP_IN), extend="max"
    )
    return figure


def draw_boxes(axis: "Axes", boxes: Boxes, flu_R_lidar: Float[ndarray, "3 3"]) -> None:
    """Outline boxes from above, a tick at the front, a colour per category with its count."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    counts = {name: boxes.category.count(name) for name in boxes.category}
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    colours = (EGO, *LINE_COLOURS[:-1])
    colour_of = {
        name: colours[rank] if rank < len(colours) else MUTED for rank, name in enumerate(ranked)
    }
    segments = [outline @ flu_R_lidar[:2, :2].T for outline in _outlines(boxes.boxes)]
    axis.add_collection(
        LineCollection(
            [np.column_stack([-outline[:, 1], outline[:, 0]]) for outline in segments],
            colors=[colour_of[name] for name in boxes.category],
            linewidths=1.1,
            zorder=4,
        ),
        autolim=False,
    )
    shown = ranked[: len(colours)]
    handles = [Line2D([], [], color=colour_of[name], lw=2) for name in shown]
    labels = [f"{name.rsplit('.', 1)[-1]} ({counts[name]})" for name in shown]
    others = sum(counts[name] for name in ranked[len(colours) :])
    if others:
        handles.append(Line2D([], [], color=MUTED, lw=2))
        labels.append(f"other ({others})")
    legend = axis.legend(handles, labels, loc="upper right", handlelength=1.2, frameon=True)
    legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.85)


def _outlines(boxes: Float[ndarray, "boxes 7"]) -> Float[ndarray, "boxes 7 2"]:
    """Closed footprints that end with a line from the centre to the middle of the front."""
    length, width = boxes[:, 3] / 2, boxes[:, 4] / 2
    shape = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1), (1, 0), (0, 0)], np.float64)
    local = shape * np.stack([length, width], axis=1)[:, None, :]
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)
    return np.asarray(local @ turn.transpose(0, 2, 1) + boxes[:, None, :2], np.float64)
