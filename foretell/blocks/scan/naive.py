"""One plain loop for each scan: the oracles of the fast forms."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.blocks.scan.chunks import segment_starts


def linear_scan(
    log_a: Float[Tensor, "batch time *channels"],
    b: Float[Tensor, "batch time *channels"],
    h0: Float[Tensor, "batch *channels"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time *channels"], Float[Tensor, "batch *channels"]]:
    """Linear recurrence with a decay per channel.

    h_t = exp(log_a_t) h_{t-1} + b_t, with h_{-1} = h0.

    Args:
        log_a: Logarithm of the decay a_t, finite and at most 0.
        b: Input b_t.
        h0: State before the first step.
        segment: Resets so far, non-decreasing; h0 belongs to segment 0. A step whose segment
            differs from the step before starts from a zero state.

    Returns:
        h of every step and of the last one.
    """
    if b.shape[1] == 0:
        return b.clone(), h0
    h, out = h0, []
    starts = _starts(segment, b)
    for log_a_t, b_t, start_t in zip(log_a.unbind(1), b.unbind(1), starts, strict=True):
        h = log_a_t.exp() * _clear(h, start_t) + b_t
        out.append(h)
    return torch.stack(out, 1), h


def ssd(
    x: Float[Tensor, "batch time heads width"],
    log_a: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    h0: Float[Tensor, "batch heads width state"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
    window: int | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads width state"]]:
    """State-space duality: a matrix state, decayed by one scalar per head (2405.21060).

    h_t = a_t h_{t-1} + x_t B_t^T, y_t = h_t C_t; the heads of a group share B and C. A window r
    keeps the last r inputs: S_t = h_t - (a_t ... a_{t-r+1}) h_{t-r}, y_t = S_t C_t, computed here
    as the recurrence over these inputs alone. h0 counts as the input of the step before the first.

    Args:
        x: Inputs x_t, H heads of width P.
        log_a: Logarithm of the decay a_t, finite and at most 0.
        B: Input directions B_t, G groups of N values, G divides H.
        C: Output directions C_t.
        h0: State before the first step.
        segment: As in `linear_scan`.
        window: Number r of inputs a state remembers; None = all.

    Returns:
        y of every step, and the state after the last one (S with a window).
    """
    repeats = x.shape[2] // B.shape[2]
    inputs = x[..., None] * B.repeat_interleave(repeats, 2)[..., None, :]
    starts = _starts(segment, x)
    steps = list(zip(log_a.exp().unbind(1), inputs.unbind(1), starts, strict=True))
    h, out = h0, []
    for t, C_t in enumerate(C.repeat_interleave(repeats, 2).unbind(1)):
        first = t
        if window is not None:
            first = max(0, t - window + 1)
            h = h0 if t + 1 < window else torch.zeros_like(h0)
        for a_j, input_j, start_j in steps[first : t + 1]:
            h = a_j[..., None, None] * _clear(h, start_j) + input_j
        out.append((h @ C_t[..., None])[..., 0])
    return (torch.stack(out, 1) if out else x.clone()), h


def softmax_scan(
    s: Float[Tensor, "batch time heads"],
    v: Float[Tensor, "batch time heads width"],
    carry: tuple[
        Float[Tensor, "batch heads"],
        Float[Tensor, "batch heads"],
        Float[Tensor, "batch heads width"],
    ],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[
    Float[Tensor, "batch time heads width"],
    tuple[
        Float[Tensor, "batch heads"],
        Float[Tensor, "batch heads"],
        Float[Tensor, "batch heads width"],
    ],
]:
    """Softmax average of all values so far, as a recurrence (Aaren, 2405.13956).

    m' = max(m, s), u' = u e^(m - m') + e^(s - m'), w' = w e^(m - m') + v e^(s - m'), o = w'/u'.
    m only scales u and w and is a constant for autograd. A score of -inf leaves u and w as they
    are; before the first finite score o is 0.

    Args:
        s: Scores.
        v: Values.
        carry: (m, u, w) before the first step; empty is (-inf, 0, 0).
        segment: As in `linear_scan`; a new segment starts from the empty carry.

    Returns:
        o of every step, and the carry after the last one.
    """
    m, u, w = carry[0].detach(), carry[1], carry[2]
    out = []
    for s_t, v_t, start_t in zip(s.unbind(1), v.unbind(1), _starts(segment, s), strict=True):
        m, u, w = _clear(m, start_t, -torch.inf), _clear(u, start_t), _clear(w, start_t)
        top = torch.maximum(m, s_t.detach())
        scale = top.masked_fill(top == -torch.inf, 0.0)  # -inf - -inf is undefined
        old, new = (m - scale).exp(), (s_t - scale).exp()
        m, u = top, u * old + new
        w = w * old[..., None] + v_t * new[..., None]
        out.append(w / torch.where(u > 0, u, 1.0)[..., None])
    return (torch.stack(out, 1) if out else v.clone()), (m, u, w)


def fft_conv(
    K: Float[Tensor, "dim *outputs taps"], u: Float[Tensor, "batch time dim"]
) -> Float[Tensor, "batch time dim *outputs"]:
    """Causal convolution of every channel with its kernels: y_t = sum_{l <= t} K_l u_{t-l}.

    Args:
        K: Kernels K_l; LSSL has an axis of outputs between dim and taps.
        u: Inputs.

    Returns:
        y of every step.
    """
    inputs, taps = u.unbind(1), K.unbind(-1)
    axes = (...,) + (None,) * (K.ndim - 2)
    y = [torch.zeros_like(u_t)[axes] * K.new_zeros(K.shape[:-1]) for u_t in inputs]
    for t in range(len(inputs)):
        for lag, K_l in enumerate(taps[: t + 1]):
            y[t] = y[t] + K_l * inputs[t - lag][axes]
    return torch.stack(y, 1) if y else u[axes].expand(*u.shape, *K.shape[1:-1]).clone()


def _starts(segment: Tensor | None, like: Tensor) -> tuple[Tensor, ...]:
    if segment is None:
        segment = torch.zeros(like.shape[:2], dtype=torch.int64, device=like.device)
    return segment_starts(segment).unbind(1)


def _clear(state: Tensor, start: Tensor, value: float = 0.0) -> Tensor:
    """Replace the state of the rows that start a segment."""
    return state.masked_fill(start.reshape(-1, *[1] * (state.ndim - 1)), value)
