"""A drive as a GIF: the true sweep beside the forecast of it, over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.figures.bev import (
    HEIGHT_SPAN_M,
    Extent,
    common_extent,
    draw_ego,
    draw_note,
    draw_points,
    draw_scale_bar,
)
from lidar.figures.frame import ForecastFrame, check_frames
from lidar.figures.gif import save_gif
from lidar.figures.style import (
    colour_map,
    house_style,
    panel_grid,
    render,
    who_label,
)

if TYPE_CHECKING:
    from PIL.Image import Image


def drive_gif(
    path: Path,
    frames: Sequence[ForecastFrame],
    times_s: Float[ndarray, " frames"],
    *,
    who: Sequence[str] = (),
    extent: Extent | None = None,
    flu_R_lidar: Float[ndarray, "3 3"] | None = None,
    frame_s: float | None = None,
    max_error_m: float = 2.0,
    max_bytes: int = 2_000_000,
) -> Path:
    """Draw one frame per window: the true sweep and each forecast of it, seen from above.

    Args:
        path: GIF to write.
        frames: One frame (one horizon) of consecutive windows, each in its own t0 frame.
        times_s: Time of each window's t0 in the drive.
        who: Forecasts beside the true sweep, coloured by absolute error; empty = all that the
            first frame holds.
        extent: Limits in metres around t0; none = the square that holds 97 % of the true points.
        flu_R_lidar: Rotation of the points' axes to forward-left-up; none = they are.
        frame_s: Seconds per picture; none = as driven.
        max_error_m: Error at the end of the colour scale.
        max_bytes: Largest file.
    """
    check_frames(frames, "drive_gif")
    if len(times_s) != len(frames):
        raise ValueError(f"times_s must have {len(frames)} entries, got {len(times_s)}")
    rotation = np.eye(3) if flu_R_lidar is None else flu_R_lidar
    names: list[str | None] = [None, *(who or frames[0].predicted_m)]
    extent = extent or common_extent([f.points() @ rotation.T for f in frames])
    ground_m = float(np.nanpercentile(frames[0].points()[:, 2], 2)) - 0.2
    if frame_s is None:
        frame_s = float(np.median(np.diff(times_s))) if len(frames) > 1 else 1.0

    def draw(index: int, dpi: int) -> "Image":
        frame = frames[index]
        figure, (axes,) = panel_grid(
            1,
            len(names),
            panel_in=(1.9, 1.9 * (extent[2] - extent[0]) / (extent[3] - extent[1])),
            margin_in=(0.06, 0.06, 0.06, 0.28),
            gap_in=(0.06, 0.0),
            dpi=dpi,
        )
        for axis, name in zip(axes, names, strict=True):
            points = frame.points(name) @ rotation.T
            draw_points(
                axis,
                points,
                points[:, 2] if name is None else np.abs(frame.error_m(name)),
                limits=(ground_m, ground_m + HEIGHT_SPAN_M) if name is None else (0.0, max_error_m),
                cmap=colour_map("height" if name is None else "error"),
                extent=extent,
                size_px=1.2,
            )
            draw_ego(axis, frame.t0_SE3_tn, rotation)
            axis.set_title("true sweep" if name is None else who_label(name), loc="left", pad=4)
            if name is not None:
                draw_note(axis, frame.score(name))
        draw_note(axes[0], f"{times_s[index]:.1f} s + {frame.horizon_s:g} s")
        draw_scale_bar(axes[0], extent)
        return render(figure)

    with house_style():
        return save_gif(path, draw, len(frames), frame_s=frame_s, max_bytes=max_bytes)
