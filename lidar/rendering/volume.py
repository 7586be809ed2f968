"""From signed distances along a ray to a range (TREND eq. 8-11, NeuS 2106.10689).

All functions are pure and need no field: rays on the leading axes, samples on the last. N samples
give N - 1 intervals. Signed distances are positive before a surface; `inv_s` is the sharpness z in
the inverse unit of the distances.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

EPS = 1e-5
"""What NeuS and UniPAD code add to both parts of the quotient."""


def interval_alpha(
    sdf: Float[Tensor, "*rays samples"],
    inv_s: Float[Tensor, ""],
    *,
    form: Literal["log", "eps"] = "log",
) -> Float[Tensor, "*rays intervals"]:
    """Opacity alpha_n = max((Phi(s_n) - Phi(s_n+1)) / Phi(s_n), 0), Phi(x) = 1/(1 + exp(-z x)).

    `log` is the exact stable form 1 - exp(min(logsigmoid(z s_n+1) - logsigmoid(z s_n), 0)); the
    printed quotient is 0/0 once Phi underflows. The minimum stands inside the exponential: outside
    it, an overflowing exponential would turn a zero gradient into NaN.

    Example:
        >>> interval_alpha(torch.tensor([1.0, -1.0]), torch.tensor(1e6))
        tensor([1.])
    """
    scaled = sdf * inv_s
    if form == "log":
        log_phi = functional.logsigmoid(scaled)
        return -torch.expm1((log_phi[..., 1:] - log_phi[..., :-1]).clamp(max=0))
    phi = scaled.sigmoid()
    quotient = (phi[..., :-1] - phi[..., 1:] + EPS) / (phi[..., :-1] + EPS)
    return quotient.clamp(0, 1)


def transmittance(alpha: Float[Tensor, "*rays intervals"]) -> Float[Tensor, "*rays intervals"]:
    """T_n = prod_{i<n} (1 - alpha_i): what reaches interval n."""
    passed = torch.cumprod(1 - alpha[..., :-1], dim=-1)
    return torch.cat([torch.ones_like(alpha[..., :1]), passed], dim=-1)


def interval_weights(
    sdf: Float[Tensor, "*rays samples"],
    inv_s: Float[Tensor, ""],
    *,
    form: Literal["log", "eps"] = "log",
    last_alpha: Literal["zero", "one"] = "zero",
) -> Float[Tensor, "*rays weights"]:
    """w_n = T_n alpha_n.

    For s decreasing along the ray sum_n w_n = 1 - Phi(s_N)/Phi(s_1).

    Returns:
        N - 1 weights, or N with `last_alpha` one (the last sample is then opaque).
    """
    alpha = interval_alpha(sdf, inv_s, form=form)
    if last_alpha == "one":
        alpha = torch.cat([alpha, torch.ones_like(alpha[..., :1])], dim=-1)
    return transmittance(alpha) * alpha


def interval_range(
    ranges_m: Float[Tensor, "*rays samples"],
    *,
    depth_at: Literal["mid", "left"] = "mid",
    last_alpha: Literal["zero", "one"] = "zero",
) -> Float[Tensor, "*rays weights"]:
    """Range in metres that stands for each weight of `interval_weights`.

    Eq. 11 prints the near end (`left`), which pulls ranges towards the sensor by about half a
    step; NeuS code uses mid-points.
    """
    left = ranges_m[..., :-1]
    at = left if depth_at == "left" else (left + ranges_m[..., 1:]) / 2
    return torch.cat([at, ranges_m[..., -1:]], dim=-1) if last_alpha == "one" else at


def expected_range(
    weights: Float[Tensor, "*rays weights"],
    at_m: Float[Tensor, "*rays weights"],
    *,
    normalize: bool = False,
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"]]:
    """Rendered range sum_n w_n r_n and sum_n w_n (TREND eq. 11).

    Args:
        weights: w_n.
        at_m: Range of each weight.
        normalize: Divide by the sum of weights (UniPAD code); not in eq. 11.
    """
    total = weights.sum(-1)
    range_m = (weights * at_m).sum(-1)
    return (range_m / total.clamp(min=EPS) if normalize else range_m), total
