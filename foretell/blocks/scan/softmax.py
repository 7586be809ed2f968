"""Fast forms of the softmax scan: chunks with a running maximum, and a tree."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.blocks.scan.chunks import log_mask
from foretell.blocks.scan.device import device_defaults
from foretell.blocks.scan.tree import Elements, associative_scan

Carry = tuple[
    Float[Tensor, "batch heads"],
    Float[Tensor, "batch heads"],
    Float[Tensor, "batch heads width"],
]
"""Maximum m of the scores, sum u and value sum w of their exponentials over e^m."""


def softmax_scan(
    s: Float[Tensor, "batch time heads"],
    v: Float[Tensor, "batch time heads width"],
    carry: Carry,
    *,
    segment: Int[Tensor, "batch time"] | None = None,
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Carry]:
    """`naive.softmax_scan` by chunks: weights e^(s_j - m_i), j <= i, beside the carry.

    m_i is the running maximum of the step's own segment, never one of the whole chunk or sequence:
    rising scores, or larger ones before a reset, would leave only zeros.

    Args:
        s: Scores; -inf leaves the state as it is.
        v: Values.
        carry: (m, u, w) before the first step; m is a constant for autograd.
        segment: Resets so far, as in `naive.linear_scan`; NaN and infinity spread over their chunk
            all the same.
        chunk_size: Steps of a chunk, no influence on the result; none = 32 on a CPU, 128 on a GPU.

    Returns:
        o of every step, and the carry after the last one.

    Raises:
        ValueError: If chunk_size is below 1.
    """
    if chunk_size is None:
        chunk_size = device_defaults(s.device.type).chunk_size
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    m, u, w = carry[0].detach(), carry[1], carry[2]
    if s.shape[1] == 0:
        return v.clone(), (m, u, w)
    causal = torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=s.device).tril()
    last = s.new_zeros(len(s), dtype=torch.int64)
    parts = [None] * -(-s.shape[1] // chunk_size)
    segments = parts if segment is None else segment.split(chunk_size, 1)
    out = []
    chunks = zip(s.split(chunk_size, 1), v.split(chunk_size, 1), segments, strict=True)
    for s_c, v_c, segment_c in chunks:
        s_c, v_c = s_c.transpose(1, 2), v_c.transpose(1, 2)  # [batch, heads, size(, width)]
        size = s_c.shape[2]
        keep, held = causal[None, :size, :size], m[..., None]
        if segment_c is not None:
            keep = keep & (segment_c[:, :, None] == segment_c[:, None])
            held = held + log_mask(segment_c == last[:, None], s)[:, None]
            last = segment_c[:, -1]
        scores = s_c[:, :, None] + log_mask(keep, s)[:, None]  # [batch, heads, size, size]
        top = torch.maximum(scores.detach().amax(-1), held)
        scale = top.masked_fill(top == -torch.inf, 0.0)  # -inf - -inf is undefined
        weights, old = (scores - scale[..., None]).exp(), (held - scale).exp()
        sums = weights.sum(-1) + old * u[..., None]
        values = weights @ v_c + old[..., None] * w[:, :, None]
        out.append(_divide(values, sums).transpose(1, 2))
        m, u, w = top[..., -1], sums[..., -1], values[:, :, -1]
    return torch.cat(out, 1), (m, u, w)


def softmax_scan_tree(
    s: Float[Tensor, "batch time heads"],
    v: Float[Tensor, "batch time heads width"],
    carry: Carry,
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Carry]:
    """`naive.softmax_scan` by a tree over time: few, large operations.

    Operator: (m, u, w) + (m', u', w') = (M, u e^(m-M) + u' e^(m'-M), w e^(m-M) + w' e^(m'-M)) with
    M = max(m, m'); the left side counts only if both end in the same segment, by a factor 0 that
    NaN and infinity pass.
    """
    if segment is None:
        segment = torch.zeros(s.shape[:2], dtype=torch.int64, device=s.device)
    # A step is (m, u, w) = (s, 1, v), where u = e^(s - m) has the gradient of the score: m is
    # constant. A score of -inf is the identity (-inf, 0, 0).
    seen = s != -torch.inf
    finite = torch.where(seen, s, 0.0)
    one = torch.where(seen, (finite - finite.detach()).exp(), 0.0)
    first = (segment.new_zeros(len(s)), carry[0].detach(), carry[1], carry[2])
    rest = (segment, s.detach(), one, one[..., None] * v)
    steps = tuple(torch.cat([a[:, None], b], 1) for a, b in zip(first, rest, strict=True))
    _, m, u, w = associative_scan(_merge, steps)
    return _divide(w[:, 1:], u[:, 1:]), (m[:, -1], u[:, -1], w[:, -1])


def _merge(left: Elements, right: Elements) -> Elements:
    same = (left[0] == right[0])[..., None]
    m = left[1].masked_fill(~same, -torch.inf)
    top = torch.maximum(m, right[1])
    scale = top.masked_fill(top == -torch.inf, 0.0)
    a, b = (m - scale).exp(), (right[1] - scale).exp()
    w = left[3] * a[..., None] + right[3] * b[..., None]
    return right[0], top, left[2] * a + right[2] * b, w


def _divide(
    w: Float[Tensor, "*steps width"], u: Float[Tensor, "*steps"]
) -> Float[Tensor, "*steps width"]:
    """w / u, and 0 where nothing was seen."""
    return w / torch.where(u > 0, u, 1.0)[..., None]
