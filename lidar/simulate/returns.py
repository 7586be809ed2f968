"""From exact hits to what the sensor reports: noise, lost returns, intensity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray
from numpy.random import Generator

from lidar.simulate.materials import intensity, reflectance
from lidar.simulate.scanner import Hits

MIN_RANGE_M = 0.3


@dataclass(frozen=True)
class Returns:
    """Measured range and intensity of every ray, and which rays returned."""

    range_m: Float32[ndarray, " rays"]
    intensity: Float32[ndarray, " rays"]
    kept: Bool[ndarray, " rays"]


def loss_probability(hits: Hits, base: float, max_range_m: float) -> Float32[ndarray, " rays"]:
    """p = base (1 + 4 (r/r_max)^2 + 6 (1 - cos)^4 + 5 (r/r_max) / (1 + 20 rho)), at most 1.

    Loss grows with range, at grazing angles, and with range on dark material. The form is ours.
    """
    ratio = np.where(np.isfinite(hits.range_m), hits.range_m, 0.0) / max_range_m
    grazing = (1.0 - hits.cos_incidence()) ** 4
    dark = ratio / (1.0 + 20.0 * reflectance(hits.material))
    p = base * (1.0 + 4.0 * ratio**2 + 6.0 * grazing + 5.0 * dark)
    return np.asarray(np.minimum(p, 1.0), np.float32)


def measure(
    hits: Hits, rng: Generator, *, noise_m: float, dropout: float, max_range_m: float
) -> Returns:
    """Add noise along the rays and lose some returns; every ray takes the same draws.

    Args:
        hits: Exact hits.
        rng: One normal and one uniform number per ray, hit or not.
        noise_m: Standard deviation of the range.
        dropout: Base loss probability; 0 = nothing is lost.
        max_range_m: For the growth of the loss.
    """
    noise = rng.normal(0.0, 1.0, len(hits.range_m)) * noise_m
    lost = rng.random(len(hits.range_m)) < loss_probability(hits, dropout, max_range_m)
    hit = np.isfinite(hits.range_m)
    exact = np.where(hit, hits.range_m, 0.0)
    measured = (exact + noise).astype(np.float32)
    kept = hit & ~lost & (measured > MIN_RANGE_M)
    strength = intensity(hits.material, hits.cos_incidence(), exact.astype(np.float32))
    return Returns(measured, strength, kept)
