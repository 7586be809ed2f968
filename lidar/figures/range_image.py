"""Range images: the sweep as its sensor sees it, true, predicted and their difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.figures.frame import ForecastFrame, check_frames
from lidar.figures.style import (
    FRAME,
    colour_bar,
    colour_map,
    house_style,
    panel_grid,
    save_png,
    who_label,
)
from lidar.geometry.range_view import AngularBins, range_image, spherical

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


_AZIMUTH_DEG = 0.4
_ELEVATION_STEPS_DEG = (0.75, 1.0, 1.35, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class SphericalView:
    """Which elevations a range image shows, in pixels of which size."""

    elevation_deg: tuple[float, float]
    """Lowest and highest elevation."""
    bins: AngularBins
    """Size of a pixel."""

    @classmethod
    def fit(cls, clouds: Sequence[Float[ndarray, "_ 3"]]) -> "SphericalView":
        """The finest pixels that leave hardly a row empty between the rings of the sensor.

        0.1 % of the points at either end of the elevations are left out.
        """
        angles = np.rad2deg(np.concatenate([spherical(cloud)[1] for cloud in clouds]))
        low, high = (float(edge) for edge in np.nanquantile(angles, [0.001, 0.999]))
        for step in _ELEVATION_STEPS_DEG:
            first, last = np.floor((low + 90) / step), np.ceil((high + 90) / step)
            edges = step * np.arange(first, max(last, first + 1) + 1) - 90
            counts, _ = np.histogram(angles[np.isfinite(angles)], edges)
            if np.mean(counts < 0.1 * np.median(counts[counts > 0])) < 0.08:
                break
        return cls((low, high), AngularBins(_AZIMUTH_DEG, step))


def range_images(
    path: Path,
    frames: Sequence[ForecastFrame],
    *,
    who: str,
    flu_R_lidar: Float[ndarray, "3 3"] | None = None,
    max_range_m: float | None = None,
    max_error_m: float = 2.0,
) -> Path:
    """Draw true, predicted and error images per horizon, one under the other.

    All three show the same ray in a pixel: of those that fall into it, the one with the nearest
    true return. Angles are those at the sensor's pose of the horizon.

    Args:
        path: PNG to write.
        frames: One window's frames by horizon.
        who: Whose forecast.
        flu_R_lidar: Rotation of the points' axes to forward-left-up; none = they are.
        max_range_m: Far end of the range colours; none = 98th percentile of the true ranges.
        max_error_m: Both ends of the error colours.
    """
    check_frames(frames, "range_images")
    rotation = np.eye(3) if flu_R_lidar is None else flu_R_lidar
    local = [f.true_m[:, None] * (f.direction @ f.t0_SE3_tn[:3, :3]) @ rotation.T for f in frames]
    view = SphericalView.fit(local)
    far_m = max_range_m or float(np.nanquantile(np.concatenate([f.true_m for f in frames]), 0.98))
    panel_in, gap, block_gap, margin = (8.6, 0.62), 0.05, 0.42, (0.95, 0.95, 0.44, 0.34)
    with house_style():
        figure, axes = panel_grid(
            len(frames),
            1,
            panel_in=(panel_in[0], 3 * panel_in[1] + 2 * gap),
            margin_in=margin,
            gap_in=(0.0, block_gap),
        )
        width, height = figure.get_size_inches()
        for frame, points, (block,) in zip(frames, local, axes, strict=True):
            box = block.get_position()
            block.remove()
            images = (
                ("true", None, far_m),
                (who_label(who), frame.range_m(who), far_m),
                ("difference", frame.error_m(who), None),
            )
            drawn: dict[str, AxesImage] = {}
            for row, (label, values, end_m) in enumerate(images):
                bottom = box.y1 - ((row + 1) * panel_in[1] + row * gap) / height
                axis = figure.add_axes((box.x0, bottom, box.width, panel_in[1] / height))
                drawn[label] = draw_range_image(
                    axis, points, view, values=values, far_m=end_m, max_error_m=max_error_m
                )
                axis.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
                if row < 2 or frame is not frames[-1]:
                    axis.tick_params(labelbottom=False, length=0)
                if row == 0:
                    axis.set_title(f"t0 + {frame.horizon_s:g} s", loc="left")
                    axis.set_title(frame.score(who), loc="right", fontweight="normal", fontsize=9)
            left, bottom = width - 0.86, box.y0 * height
            colour_bar(
                figure,
                drawn["true"],
                "range (m)",
                box_in=(left, bottom + panel_in[1] + gap + 0.14, 0.09, 2 * panel_in[1] + gap - 0.2),
                extend="max",
            )
            colour_bar(
                figure,
                drawn["difference"],
                "error (m)",
                box_in=(left, bottom, 0.09, panel_in[1]),
                extend="both",
            )
        return save_png(figure, path)


def draw_range_image(
    axis: "Axes",
    points: Float[ndarray, "points 3"],
    view: SphericalView,
    *,
    values: Float[ndarray, " points"] | None = None,
    far_m: float | None,
    max_error_m: float = 2.0,
) -> "AxesImage":
    """Show the nearest return per pixel; pixels without one, and NaN, are light grey.

    Args:
        axis: Panel to fill.
        points: Cloud in forward-left-up axes about the sensor; rows with NaN are left out.
        view: Elevations and pixels.
        values: What to paint; none = range.
        far_m: Range at the far end of the colours; none = values are signed errors.
        max_error_m: Error at both ends of the colours.
    """
    from matplotlib.colors import Normalize, PowerNorm

    seen = np.isfinite(points).all(axis=1)
    image = range_image(
        points[seen],
        view.bins,
        elevation_deg=view.elevation_deg,
        values=None if values is None else np.asarray(values, np.float64)[seen],
    )
    # Square root: half of the colours for the nearest quarter, where most returns are.
    norm = Normalize(-max_error_m, max_error_m) if far_m is None else PowerNorm(0.5, 0.0, far_m)
    drawn = axis.imshow(
        image,
        cmap=colour_map("signed_error" if far_m is None else "range"),
        norm=norm,
        aspect="auto",
        interpolation="nearest",
        extent=(180.0, -180.0, *view.elevation_deg),
    )
    axis.set_xticks([180, 90, 0, -90, -180], ["back", "left", "forward", "right", "back"])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(FRAME)
    return drawn
