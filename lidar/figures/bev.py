"""Bird's-eye views: one panel, and true against forecast sweeps per horizon."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from lidar.figures.frame import ForecastFrame, check_frames
from lidar.figures.style import (
    EGO,
    FRAME,
    INK,
    colour_bar,
    colour_map,
    house_style,
    panel_grid,
    save_png,
    who_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap

Extent = tuple[float, float, float, float]
"""forward_min, left_min, forward_max, left_max in metres."""

HEIGHT_SPAN_M = 4.0
"""Colour by height covers this much, from just below the ground up."""


def bev_comparison(
    path: Path,
    frames: Sequence[ForecastFrame],
    *,
    who: Sequence[str] = (),
    colour: Literal["error", "height"] = "error",
    extent: Extent | None = None,
    flu_R_lidar: Float[ndarray, "3 3"] | None = None,
    max_error_m: float = 2.0,
    title: str = "",
) -> Path:
    """Draw true and forecast sweeps from above: a column per horizon, a row per `who`.

    Every panel shows the t0 frame, forward up, within the same limits; the marker is the car at
    the horizon and the line behind it its way since t0.

    Args:
        path: PNG to write.
        frames: One window's frames by horizon.
        who: Rows under the true sweep; empty = all that the first frame holds.
        colour: Forecasts by absolute range error, or like the true sweep by height.
        extent: Limits in metres; none = the square that holds 97 % of the true points.
        flu_R_lidar: Rotation of the points' axes to forward-left-up; none = they are.
        max_error_m: Error at the end of the colour scale.
        title: Line above the figure.
    """
    check_frames(frames, "bev_comparison")
    rotation = np.eye(3) if flu_R_lidar is None else flu_R_lidar
    rows: list[str | None] = [None, *(who or frames[0].predicted_m)]
    extent = extent or common_extent([f.points() @ rotation.T for f in frames])
    heights = frames[0].points()[:, 2]
    ground_m = float(np.nanpercentile(heights, 2)) - 0.2
    error_map, height_map = colour_map("error"), colour_map("height")
    width_in = 2.55
    panel_in = (width_in, width_in * (extent[2] - extent[0]) / (extent[3] - extent[1]))
    with house_style():
        figure, axes = panel_grid(
            len(rows),
            len(frames),
            panel_in=panel_in,
            margin_in=(0.36, 0.78, 0.12, 0.62 if title else 0.34),
        )
        drawn: dict[str, ScalarMappable] = {}
        for row, name in enumerate(rows):
            for column, frame in enumerate(frames):
                axis = axes[row][column]
                points = frame.points(name) @ rotation.T
                by_error = name is not None and colour == "error"
                values = np.abs(frame.error_m(name)) if name and by_error else points[:, 2]
                limits = (0.0, max_error_m) if by_error else (ground_m, ground_m + HEIGHT_SPAN_M)
                drawn["error" if by_error else "height"] = draw_points(
                    axis,
                    points,
                    values,
                    limits=limits,
                    cmap=error_map if by_error else height_map,
                    extent=extent,
                )
                draw_ego(axis, frame.t0_SE3_tn, rotation)
                if name is not None:
                    draw_note(axis, frame.score(name))
                if row == 0:
                    axis.set_title(f"t0 + {frame.horizon_s:g} s" if frame.horizon_s else "t0")
            label = "true sweep" if name is None else who_label(name)
            axes[row][0].set_ylabel(label, fontsize=10, fontweight="bold", labelpad=5)
        draw_scale_bar(axes[0][0], extent)
        if title:
            figure.suptitle(title, fontsize=11, x=0.5, y=1 - 0.1 / figure.get_size_inches()[1])
        total_w, _ = figure.get_size_inches()
        first = {"height": 0, "error": 1}
        for key, mappable in drawn.items():
            last = len(rows) - 1 if key == "error" or colour == "height" else 0
            span = last - first[key] + 1
            height_in = span * panel_in[1] + (span - 1) * 0.08
            bottom = 0.12 + (len(rows) - 1 - last) * (panel_in[1] + 0.08)
            colour_bar(
                figure,
                mappable,
                "absolute range error (m)" if key == "error" else "height from the sensor (m)",
                box_in=(total_w - 0.68, bottom + 0.12 * height_in, 0.1, 0.76 * height_in),
                extend="max" if key == "error" else "both",
            )
        return save_png(figure, path)


def common_extent(clouds: Sequence[Float[ndarray, "_ 3"]], share: float = 0.97) -> Extent:
    """Square around the origin that holds `share` of the points, in whole 5 m."""
    reach = np.concatenate([np.abs(cloud[:, :2]).max(axis=1) for cloud in clouds])
    half = float(np.ceil(np.nanquantile(reach, share) / 5.0) * 5.0)
    half = max(half, 5.0)
    return (-half, -half, half, half)


def draw_points(
    axis: "Axes",
    points: Float[ndarray, "points 3"],
    values: Float[ndarray, " points"],
    *,
    limits: tuple[float, float],
    cmap: "Colormap",
    extent: Extent,
    size_px: float = 1.6,
) -> "ScalarMappable":
    """Fill a panel with forward-left-up points seen from above, forward up.

    The highest point covers those below it, whatever the colours say, as it would for the eye.
    Points outside the panel and points with NaN are left out.

    Args:
        axis: Panel to fill.
        points: Metres, x forward, y left, z up.
        values: What the colours show.
        limits: Values at the ends of the colour map.
        cmap: Colour map.
        extent: Limits of the panel.
        size_px: Edge of a point in pixels of the figure.

    Returns:
        What a colour bar needs.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    forward_min, left_min, forward_max, left_max = extent
    mappable = ScalarMappable(Normalize(*limits), cmap)
    shown = np.isfinite(points).all(axis=1) & np.isfinite(values)
    order = np.flatnonzero(shown)[np.argsort(points[shown, 2], kind="stable")]
    down = (forward_max - points[order, 0]) / (forward_max - forward_min)
    right = (left_max - points[order, 1]) / (left_max - left_min)
    panel = axis.get_window_extent()
    axis.imshow(
        splat(
            np.stack([down, right], axis=1),
            mappable.to_rgba(values[order], bytes=True)[:, :3],
            shape=(round(panel.height), round(panel.width)),
            size_px=size_px,
        ),
        extent=(-left_max, -left_min, forward_min, forward_max),
        aspect="auto",
        interpolation="nearest",
        zorder=0,
    )
    axis.set_xlim(-left_max, -left_min)
    axis.set_ylim(forward_min, forward_max)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(FRAME)
    return mappable


def splat(
    position: Float[ndarray, "points 2"],
    colour: UInt8[ndarray, "points 3"],
    *,
    shape: tuple[int, int],
    size_px: float,
    supersample: int = 2,
) -> UInt8[ndarray, "rows columns 3"]:
    """Paint square points on white, later ones over earlier ones, edges smoothed.

    A scatter plot of 100k coloured points takes matplotlib half a second a panel; this is ten
    times faster and does not depend on the rasteriser.

    Args:
        position: Down and right in shares of the image, [0, 1); others are left out.
        colour: RGB of each point.
        shape: Rows and columns of the image.
        size_px: Edge of a point in pixels.
        supersample: Sub-pixels per pixel and axis.
    """
    from scipy.ndimage import maximum_filter

    fine_shape = (shape[0] * supersample, shape[1] * supersample)
    cell = np.floor(position * fine_shape).astype(np.int64)
    inside = ((cell >= 0) & (cell < fine_shape)).all(axis=1)
    rank = np.zeros(fine_shape, np.int32)
    rank[cell[inside, 0], cell[inside, 1]] = np.flatnonzero(inside) + 1
    rank = maximum_filter(rank, size=max(1, round(size_px * supersample)))
    palette = np.concatenate([np.full((1, 3), 255), colour]).astype(np.uint16)
    num_sub = supersample**2
    total = np.full((*shape, 3), num_sub // 2, np.uint16)
    for sub in range(num_sub):
        total += palette[rank[sub // supersample :: supersample, sub % supersample :: supersample]]
    return (total // num_sub).astype(np.uint8)


def draw_ego(
    axis: "Axes", t0_SE3_tn: Float[ndarray, "4 4"], flu_R_lidar: Float[ndarray, "3 3"]
) -> None:
    """A triangle at the sensor, pointing forward, with the straight way since t0 behind it."""
    forward = flu_R_lidar @ t0_SE3_tn[:3, :3] @ flu_R_lidar.T[:, 0]
    position = flu_R_lidar @ t0_SE3_tn[:3, 3]
    yaw_rad = float(np.arctan2(forward[1], forward[0]))
    axis.plot([0.0, -position[1]], [0.0, position[0]], color=EGO, lw=1.2, solid_capstyle="round")
    axis.plot(
        [-position[1]],
        [position[0]],
        marker=_arrow_head(yaw_rad),
        ms=8.5,
        mfc=EGO,
        mec="white",
        mew=0.7,
        ls="none",
    )


def _arrow_head(yaw_rad: float) -> Float[ndarray, "corners 2"]:
    """Corners of a notched arrow head that points up at yaw 0 and turns counter-clockwise."""
    corners = np.array([(0.0, 1.0), (0.72, -0.8), (0.0, -0.4), (-0.72, -0.8), (0.0, 1.0)])
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]))


def draw_note(axis: "Axes", text: str) -> None:
    """A line in the top left corner of a panel, on a white ground."""
    axis.text(
        0.03,
        0.97,
        text,
        transform=axis.transAxes,
        ha="left",
        va="top",
        fontsize=8.5,
        color=INK,
        bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.85},
    )


def draw_scale_bar(axis: "Axes", extent: Extent) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, about a fifth of the panel."""
    width = extent[3] - extent[1]
    power = 10.0 ** np.floor(np.log10(width / 5.0))
    length = max(step for step in (power, 2 * power, 5 * power) if step <= width / 4.5)
    left, bottom = -extent[3] + 0.05 * width, extent[0] + 0.05 * (extent[2] - extent[0])
    axis.plot(
        [left, left + length], [bottom, bottom], color=INK, lw=1.8, solid_capstyle="butt", zorder=5
    )
    axis.annotate(
        f"{length:g} m",
        (left + length / 2, bottom),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
        zorder=5,
    )
