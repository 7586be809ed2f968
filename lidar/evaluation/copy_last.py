"""Copy-last: the world stands still, the sensor moves, every future ray is cast at known points.

The known points (t0 sweep, or the model's own input sweeps) are seen from the future origin o_tn,
so ego motion is compensated. A ray takes the nearest range of its angular bin (a z-buffer in
azimuth and elevation); in an empty bin, or without bins, the range of the nearest direction.
A z-buffer scores 0.33-0.37 m even on the identical HDL-64 sweep with bins of 0.35 degrees: part of
the baseline's error is its own binning, therefore several variants are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.geometry.boxes import points_in_boxes
from lidar.geometry.range_view import AngularBins


@dataclass(frozen=True)
class Variant:
    """One way to copy the last sweep."""

    bins: AngularBins | None
    """Bins of the z-buffer; none = nearest direction alone."""
    source: Literal["t0", "sweeps"]
    """Known points: the sweep at t0 alone, or all input sweeps of the model."""

    @property
    def name(self) -> str:
        """Such as `copy_last_zbuffer_0.35deg_t0` or `copy_last_nearest_sweeps`."""
        if self.bins is None:
            return f"copy_last_nearest_{self.source}"
        azimuth, elevation = self.bins.azimuth_deg, self.bins.elevation_deg
        size = f"{azimuth:g}" if azimuth == elevation else f"{azimuth:g}x{elevation:g}"
        return f"copy_last_zbuffer_{size}deg_{self.source}"


def copy_last_variants(
    raycast_bins_deg: Sequence[float | Sequence[float]], *, num_sweeps: int
) -> tuple[Variant, ...]:
    """{z-buffer of each bin size; nearest direction} x {t0; input sweeps}.

    With one input sweep both sources are the same points and only `t0` is listed.

    >>> [v.name for v in copy_last_variants([0.35, [0.4, 1.33]], num_sweeps=1)]
    ['copy_last_zbuffer_0.35deg_t0', 'copy_last_zbuffer_0.4x1.33deg_t0', 'copy_last_nearest_t0']
    """
    sizes: list[AngularBins | None] = []
    for entry in raycast_bins_deg:
        pair = [entry, entry] if isinstance(entry, int | float) else list(entry)
        if len(pair) != 2:
            raise ValueError(
                f"eval.raycast_bins_deg takes numbers or azimuth-elevation pairs, got {entry}"
            )
        sizes.append(AngularBins(float(pair[0]), float(pair[1])))
    sources: tuple[Literal["t0", "sweeps"], ...] = ("t0", "sweeps") if num_sweeps > 1 else ("t0",)
    return tuple(Variant(bins, source) for source in sources for bins in [*sizes, None])


def constant_velocity_points(
    t0_points: Float[ndarray, "points 3"],
    boxes: Float[ndarray, "boxes 7"],
    velocity_mps: Float[ndarray, "boxes 2"],
    dt_s: float,
    *,
    margin_m: float = 0.1,
) -> Float[ndarray, "points 3"]:
    """Move the points of every box by its velocity; all other points stay.

    Args:
        t0_points: t0 sweep, t0 sensor frame, metres.
        boxes: Annotated boxes at t0, same frame.
        velocity_mps: Velocity over the ground in the axes of that frame; NaN = unknown = at rest.
        dt_s: Seconds since t0.
        margin_m: Boxes are this much larger on each side.
    """
    moved = t0_points.astype(np.float64)
    inside = np.asarray(points_in_boxes(moved, boxes, margin_m))
    step = np.nan_to_num(velocity_mps) * dt_s
    for box in range(len(boxes)):
        moved[inside[:, box], :2] = t0_points[inside[:, box], :2] + step[box]
    return moved
