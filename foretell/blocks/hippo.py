"""HiPPO matrices, the diagonal initialisations of S4D, and their discretisations."""

import math
from typing import Literal

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from foretell.blocks.checks import check_choice, check_positive

Hippo = Literal["legs", "legt"]
Poles = Literal["lin", "inv", "legs", "real"]

SERIES_RADIUS = 0.1
"""Below this |dt A| the zero-order hold is a power series: the quotient's gradient cancels."""
SERIES_TERMS = 12
"""0.1^12 / 13! is far below the rounding of float64."""


def hippo_matrices(
    kind: Hippo, state_dim: int, *, legt_scale: float = 1.0
) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """A and B of x' = A x + B u whose state holds Legendre coefficients of the past.

    With r_n = sqrt(2n + 1), n and k from 0 (HiPPO, 2008.07669, as LSSL, 2110.13985, writes it):
    LegS A_nk = -r_n r_k for n > k, -(n + 1) for n = k, 0 for n < k; LegT A_nk = -r_n r_k for
    k <= n, -(-1)^(n - k) r_n r_k for k > n; B_n = r_n in both.

    Args:
        kind: "legs", the whole past (x' is divided by t there), or "legt", a window.
        state_dim: N.
        legt_scale: Factor on A and B of LegT, the reciprocal of the window's length. The later
            s4 code has 1/2, the papers 1.

    Returns:
        A and B, float64.
    """
    check_choice("kind", kind, Hippo)
    check_positive(state_dim=state_dim)
    if not 0 < legt_scale < math.inf:
        raise ValueError(f"legt_scale must be finite and above 0, got {legt_scale}")
    n = torch.arange(state_dim, dtype=torch.float64)
    root = (2 * n + 1).sqrt()
    outer = root[:, None] * root
    match kind:
        case "legs":
            return -outer.tril(-1) - torch.diag(n + 1), root
        case "legt":
            sign = 1 - 2 * ((n[:, None] - n) % 2)
            A = -outer.tril() - (outer * sign).triu(1)
            return legt_scale * A, legt_scale * root


def s4d_poles(kind: Poles, state_dim: int) -> Complex[Tensor, " poles"]:
    """Diagonal of A at the start of S4D (2206.11893), one of each of N/2 conjugate pairs.

    For n = 0 .. N/2 - 1: lin -1/2 + i pi n; inv -1/2 + i (N/pi) (N/(2n + 1) - 1); real -(n + 1);
    legs the eigenvalues with Im > 0 of A_LegS + P P^T, P_n = sqrt(n + 1/2), by rising Im. That
    sum is -1/2 plus a skew-symmetric matrix, so a Hermitian solver finds them.

    Args:
        kind: Which initialisation.
        state_dim: N, even.

    Returns:
        Poles [N/2], complex128.
    """
    check_choice("kind", kind, Poles)
    check_positive(state_dim=state_dim)
    if state_dim % 2:
        raise ValueError(f"state_dim must be even, got {state_dim}")
    n = torch.arange(state_dim // 2, dtype=torch.float64)
    half = torch.full_like(n, -0.5)
    match kind:
        case "lin":
            return torch.complex(half, math.pi * n)
        case "inv":
            return torch.complex(half, state_dim / math.pi * (state_dim / (2 * n + 1) - 1))
        case "legs":
            A, B = hippo_matrices("legs", state_dim)
            skew = (A - A.T) / 2
            return torch.complex(half, torch.linalg.eigvalsh(-1j * skew)[state_dim // 2 :])
        case "real":
            return torch.complex(-(n + 1), torch.zeros_like(n))


def discretise_bilinear(
    A: Float[Tensor, "state state"],
    B: Float[Tensor, " state"],
    dt: Float[Tensor, " dim"],
    *,
    alpha: float = 0.5,
) -> tuple[Float[Tensor, "dim state state"], Float[Tensor, "dim state"]]:
    """Generalised bilinear transform of x' = A x + B u, one step size a channel.

    Abar = (I - alpha dt A)^-1 (I + (1 - alpha) dt A), Bbar = dt (I - alpha dt A)^-1 B (LSSL,
    2110.13985, eq. 3), by one solve for both.

    Args:
        A: State matrix, shared by the channels.
        B: Input vector.
        dt: Step of each channel.
        alpha: 0 Euler, 1/2 bilinear, 1 backward Euler.

    Returns:
        Abar and Bbar of x_t = Abar x_{t-1} + Bbar u_t.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    scaled = dt[:, None, None] * A
    right = torch.cat([eye + (1 - alpha) * scaled, (dt[:, None] * B)[..., None]], dim=-1)
    solved = torch.linalg.solve(eye - alpha * scaled, right)
    return solved[..., :-1], solved[..., -1]


def discretise_zoh(
    A: Float[Tensor, "state state"], B: Float[Tensor, " state"], dt: Float[Tensor, " dim"]
) -> tuple[Float[Tensor, "dim state state"], Float[Tensor, "dim state"]]:
    """Zero-order hold of x' = A x + B u: u is constant during a step.

    Abar = exp(dt A), Bbar = A^-1 (Abar - I) B, read off exp(dt [[A, B], [0, 0]]) = [[Abar, Bbar],
    [0, 1]], so A may be singular.

    Args:
        A: State matrix, shared by the channels.
        B: Input vector.
        dt: Step of each channel.

    Returns:
        Abar and Bbar.
    """
    block = torch.cat([A, B[:, None]], dim=1)
    block = torch.cat([block, torch.zeros_like(block[:1])])
    held = torch.linalg.matrix_exp(dt[:, None, None] * block)
    return held[:, :-1, :-1], held[:, :-1, -1]


def discretise_zoh_diagonal(
    A: Inexact[Tensor, "*#dim poles"], dt: Float[Tensor, " dim"]
) -> tuple[Inexact[Tensor, "dim poles"], Inexact[Tensor, "dim poles"]]:
    """Zero-order hold of a diagonal A with B = 1 (S4D, 2206.11893).

    Abar = exp(dt A), Bbar = (Abar - 1) / A, which tends to dt as A tends to 0. Near 0 the sum
    dt (1 + z/2! + z^2/3! + ..), z = dt A, replaces the quotient.

    Args:
        A: Poles, shared by the channels or one set a channel; real or complex.
        dt: Step of each channel.

    Returns:
        Abar and Bbar.
    """
    step = dt[:, None]
    z = step * A
    near = z.detach().abs() < SERIES_RADIUS
    inside = torch.where(near, z, 0.0)
    series = torch.ones_like(z)
    for order in range(SERIES_TERMS, 1, -1):
        series = 1 + inside / order * series
    outside = torch.where(near, 1.0, z)
    return z.exp(), step * torch.where(near, series, outside.expm1() / outside)


def sample_log_dt(
    dim: int,
    *,
    dt_min: float = 1e-3,
    dt_max: float = 1e-1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " dim"]:
    """log dt ~ U(log dt_min, log dt_max), independent for each of `dim` channels."""
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"dt_min must lie in (0, dt_max], got {dt_min} with dt_max {dt_max}")
    low, high = math.log(dt_min), math.log(dt_max)
    return low + (high - low) * torch.rand(dim, generator=generator)
