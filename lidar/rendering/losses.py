"""Loss terms of rendered rays (TREND eq. 12; NeurIPS version: three L1 terms).

Every function returns a SUM over valid rays divided by a given denominator. The denominator is
fixed before rays are cut into chunks and is all-reduced over processes, so the sum over chunks
equals the loss of all rays. A denominator of zero gives zero.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

BAND_M = 0.5
"""Half width of the band around the hit that free space and line of sight leave alone."""


def _mean(
    values: Float[Tensor, "*rays"], valid: Bool[Tensor, "*rays"], denominator: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    # where, not multiplication: NaN targets of invalid rays must not survive.
    total = torch.where(valid, values, torch.zeros_like(values)).sum()
    return total / denominator.clamp(min=1e-12).to(total.dtype)


def masked_l1(
    predicted: Float[Tensor, "*rays"],
    target: Float[Tensor, "*rays"],
    valid: Bool[Tensor, "*rays"],
    denominator: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """sum over valid rays of abs(predicted - target), divided by the denominator.

    Serves range (metres), intensity (in [0, 1]) and, with target 0, the surface term abs(s(p)).
    """
    # Replace before subtracting: the gradient of abs at NaN would be NaN even under a mask.
    safe = torch.where(valid, target, torch.zeros_like(target))
    return _mean((predicted - safe).abs(), valid, denominator)


def free_space(
    sdf_m: Float[Tensor, "*rays samples"],
    ranges_m: Float[Tensor, "*rays samples"],
    hit_m: Float[Tensor, "*rays"],
    valid: Bool[Tensor, "*rays"],
    denominator: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Hinge max(0, -s) in metres at samples more than BAND_M before the hit, mean over samples."""
    before = ranges_m < hit_m[..., None] - BAND_M
    hinge = torch.where(before, (-sdf_m).clamp(min=0), torch.zeros_like(sdf_m)).mean(-1)
    return _mean(hinge, valid, denominator)


def line_of_sight(
    weights: Float[Tensor, "*rays weights"],
    at_m: Float[Tensor, "*rays weights"],
    hit_m: Float[Tensor, "*rays"],
    valid: Bool[Tensor, "*rays"],
    denominator: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Sum of squared weights further than BAND_M from the hit (after Urban Radiance Fields)."""
    outside = (at_m - hit_m[..., None]).abs() > BAND_M
    stray = torch.where(outside, weights**2, torch.zeros_like(weights)).sum(-1)
    return _mean(stray, valid, denominator)


def eikonal(
    sdf_plus: Float[Tensor, "*rays 3"],
    sdf_minus: Float[Tensor, "*rays 3"],
    step: float,
    valid: Bool[Tensor, "*rays"],
    denominator: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """(norm of grad s - 1)^2 with grad s by central differences of the given step.

    Args:
        sdf_plus: s(p + step e_k) for the axes k = x, y, z.
        sdf_minus: s(p - step e_k).
        step: In the unit of s.
        valid: Rays that count.
        denominator: Fixed number of rays.
    """
    gradient = (sdf_plus - sdf_minus) / (2 * step)
    norm = (gradient.square().sum(-1) + 1e-12).sqrt()
    return _mean((norm - 1).square(), valid, denominator)
