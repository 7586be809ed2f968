"""Where along a ray the field is evaluated (TREND section 5, after NeuS).

All functions are pure: ranges in metres, rays on the leading axes, samples on the last. Random
numbers come in as arguments, so that results do not depend on chunking or device; None gives the
deterministic middle of every bin or quantile, as in evaluation.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

FLOOR = 1e-5
"""Added to every weight of the importance pass, so that empty rays are sampled uniformly."""


def stratified(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    num_samples: int,
    *,
    jitter: Float[Tensor, "*rays samples"] | None = None,
) -> Float[Tensor, "*rays samples"]:
    """One sample in each of N equal bins of [near, far], ascending.

    Args:
        near: First distance.
        far: Last distance, >= near.
        num_samples: N.
        jitter: Position inside each bin in [0, 1); None = the middle.
    """
    steps = torch.arange(num_samples, device=near.device, dtype=near.dtype)
    position = (steps + (0.5 if jitter is None else jitter)) / num_samples
    return torch.addcmul(near[..., None], (far - near)[..., None], position)


def importance(
    ranges_m: Float[Tensor, "*rays samples"],
    weights: Float[Tensor, "*rays intervals"],
    num_samples: int,
    *,
    jitter: Float[Tensor, "*rays draws"] | None = None,
) -> Float[Tensor, "*rays draws"]:
    """Draw from the piecewise-constant density of the interval weights + 1e-5.

    The quantiles (j + u)/M, stratified in training and mid-quantiles in evaluation, go through
    the inverse of the CDF whose knots are the N sample ranges.

    Args:
        ranges_m: N ascending ranges, the knots.
        weights: Non-negative weights of the N - 1 intervals.
        num_samples: M.
        jitter: u in [0, 1); None = 1/2.

    Returns:
        M ascending ranges inside [ranges_m[0], ranges_m[-1]].
    """
    mass = weights + FLOOR
    cdf = mass.cumsum(-1)
    total = cdf[..., -1:]
    steps = torch.arange(num_samples, device=mass.device, dtype=mass.dtype)
    quantile = (steps + (0.5 if jitter is None else jitter)) / num_samples * total
    interval = torch.searchsorted(cdf, quantile.contiguous(), right=True)
    interval = interval.clamp(max=mass.shape[-1] - 1)
    before = (cdf - mass).gather(-1, interval)
    share = ((quantile - before) / mass.gather(-1, interval)).clamp(0, 1)
    left, right = ranges_m.gather(-1, interval), ranges_m.gather(-1, interval + 1)
    return torch.lerp(left, right, share)


def merge(
    first: Float[Tensor, "*rays first"], second: Float[Tensor, "*rays second"]
) -> tuple[Float[Tensor, "*rays both"], Int64[Tensor, "*rays both"]]:
    """Both sets of ranges in ascending order, and the order that sorts their concatenation."""
    ranges, order = torch.cat([first, second], dim=-1).sort(dim=-1, stable=True)
    return ranges, order
