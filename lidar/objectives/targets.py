"""Rays of one frame, what they measured, and what a decoder says of them."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from lidar.data.batch import WindowBatch


class RayTargets(NamedTuple):
    """Measured rays of one supervised frame, t0 frame, metres."""

    ray_o: Float[Tensor, "batch rays 3"]
    """Origins."""
    ray_d: Float[Tensor, "batch rays 3"]
    """Unit directions."""
    range_m: Float[Tensor, "batch rays"]
    """Measured range."""
    intensity: Float[Tensor, "batch rays"]
    """Measured intensity in [0, 1], NaN where the sensor gives none."""
    valid: Bool[Tensor, "batch rays"]
    """Rays that count."""
    t_s: Float[Tensor, " batch"]
    """Seconds since t0."""
    frame: Int[Tensor, " batch"]
    """Frame number, 0 = t0."""
    seed: Int[Tensor, " batch"]
    """Key of the random draws."""

    @classmethod
    def of_slot(cls, batch: WindowBatch, slot: int) -> "RayTargets":
        """Rays of the supervised frame number `slot` of every window."""
        frame = batch.frame_index[:, slot]
        return cls(
            batch.ray_o[:, slot],
            batch.ray_d[:, slot],
            batch.ray_r[:, slot],
            batch.ray_i[:, slot],
            batch.ray_valid[:, slot],
            batch.t_s.gather(1, frame[:, None]).squeeze(1),
            frame,
            batch.seed,
        )


class FrameLoss(NamedTuple):
    """Loss of one frame."""

    total: Float[Tensor, ""]
    """Weighted sum, with gradient."""
    terms: dict[str, Tensor]
    """Unweighted terms and other figures to log, without gradient."""


class RenderedRays(NamedTuple):
    """What the model says of rays."""

    range_m: Float[Tensor, "batch rays"]
    """Range from the ray's own origin."""
    sum_w: Float[Tensor, "batch rays"]
    """Sum of the rendering weights, 1 = a surface is certain."""
    intensity: Float[Tensor, "batch rays"] | None
    """Intensity in [0, 1] at the rendered point."""
    hits_volume: Bool[Tensor, "batch rays"]
    """False where the ray misses the volume; its range is then the far end of its search interval
    (`lidar.geometry.rays.search_interval`)."""
