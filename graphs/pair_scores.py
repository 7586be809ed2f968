"""w . relu(P[u] + Q[v] + extra) for many pairs: the decoder of links without its big tensors.

Linear(concat(h_u, h_v)) is P[u] + Q[v] with P, Q computed once for each node; of two logits only
their difference matters. Training keeps one number for each pair and hidden unit (the sign), and
its gradients are two products with sparse matrices.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.data.adjacency import SparseOperator

BLOCK_NUMBERS = 1 << 18
"""Hidden units computed at a time, so that they stay in a core's cache."""


def pair_scores_naive(
    p: Float[Tensor, "nodes hidden"],
    q: Float[Tensor, "nodes hidden"],
    w: Float[Tensor, " hidden"],
    pairs: Int[Tensor, "2 pairs"],
    extra: Float[Tensor, "some hidden"] | None = None,
    extra_at: Int[Tensor, " some"] | None = None,
) -> Float[Tensor, " pairs"]:
    """As `pair_scores`, all hidden units at once."""
    hidden = p[pairs[0]] + q[pairs[1]]
    if extra is not None and extra_at is not None:
        hidden = hidden.index_add(0, extra_at, extra)
    return torch.relu(hidden) @ w


def pair_scores(
    p: Float[Tensor, "nodes hidden"],
    q: Float[Tensor, "nodes hidden"],
    w: Float[Tensor, " hidden"],
    pairs: Int[Tensor, "2 pairs"],
    extra: Float[Tensor, "some hidden"] | None = None,
    extra_at: Int[Tensor, " some"] | None = None,
) -> Float[Tensor, " pairs"]:
    """Scores of pairs, with gradients of p, q, w and extra.

    Args:
        p: Part of the hidden layer that the source brings.
        q: Part that the target brings, with the bias.
        w: Weights of the answer.
        pairs: Sources and targets; fastest where sources ascend.
        extra: Added to the hidden layer of some pairs.
        extra_at: Which pairs, ascending, each once.
    """
    scores: Tensor = _PairScores.apply(p, q, w, pairs, extra, extra_at)
    return scores


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, p: Tensor, q: Tensor, w: Tensor, pairs: Tensor, extra: Any, extra_at: Any
    ) -> Tensor:
        count, width = pairs.shape[1], p.shape[1]
        scores, sign = p.new_empty(count), p.new_empty(count, width)
        rows = max(1, BLOCK_NUMBERS // width)
        first, second = p.new_empty(rows, width), p.new_empty(rows, width)
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            hidden, other = first[: stop - start], second[: stop - start]
            torch.index_select(p, 0, pairs[0, start:stop], out=hidden)
            torch.index_select(q, 0, pairs[1, start:stop], out=other)
            hidden += other
            if extra is not None:
                _add_extra(hidden, extra, extra_at, start, stop)
            hidden.clamp_(min=0)
            torch.mv(hidden, w, out=scores[start:stop])
            torch.sign(hidden, out=sign[start:stop])
        ctx.save_for_backward(p, q, w, pairs, sign, extra, extra_at)
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        p, q, w, pairs, sign, extra, extra_at = ctx.saved_tensors
        # sum over the pairs of a source (target) of grad * sign, which d/dp, d/dq and d/dw share
        of_source, of_target = (_sum_rows(row, grad, sign, len(p)) for row in pairs)
        grad_w = torch.einsum("nh,nh->h", p, of_source) + torch.einsum("nh,nh->h", q, of_target)
        grad_extra = None
        if extra is not None:
            some = sign[extra_at] * grad[extra_at, None]
            grad_w += torch.einsum("nh,nh->h", extra, some)
            grad_extra = some * w
        return of_source * w, of_target * w, grad_w, None, grad_extra, None


def _sum_rows(row: Tensor, value: Tensor, matrix: Tensor, num_rows: int) -> Tensor:
    """sum_i value[i] matrix[i] into row[i]: a sparse matrix times a dense one."""
    counts = torch.bincount(row, minlength=num_rows)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    column = torch.arange(len(row), device=row.device)
    if not bool((row[1:] >= row[:-1]).all()):
        column = row.argsort(stable=True)
        value = value[column]
    return SparseOperator(starts, column, value, len(row)).multiply(matrix)


def _add_extra(hidden: Tensor, extra: Tensor, extra_at: Tensor, start: int, stop: int) -> None:
    """Add the rows of `extra` that belong to the pairs [start, stop)."""
    first, last = torch.searchsorted(extra_at, extra_at.new_tensor([start, stop])).tolist()
    if last > first:
        hidden.index_add_(0, extra_at[first:last] - start, extra[first:last])


def row_scores(
    p: Float[Tensor, "nodes hidden"],
    minus_q: Float[Tensor, "targets hidden"],
    w: Float[Tensor, " hidden"],
    of_target: Float[Tensor, " targets"],
    start: int,
    stop: int,
) -> Float[Tensor, "rows targets"]:
    """Scores of all targets for the sources start .. stop - 1, without a gradient.

    relu(a + b) = max(a, -b) + b saves a pass over the hidden units: w . relu(P + Q) is
    w . max(P, -Q) + w . Q.

    Args:
        p: As in `pair_scores`.
        minus_q: -q.
        w: As in `pair_scores`.
        of_target: q @ w, computed once.
        start: First source.
        stop: After the last.
    """
    targets, width = minus_q.shape
    scores = p.new_empty(stop - start, targets)
    block = max(1, BLOCK_NUMBERS // width)
    hidden = p.new_empty(min(block, targets), width)
    for row in range(start, stop):
        source, line = p[row], scores[row - start]
        for first in range(0, targets, block):
            last = min(first + block, targets)
            part = hidden[: last - first]
            torch.maximum(minus_q[first:last], source, out=part)
            torch.mv(part, w, out=line[first:last])
    return scores.add_(of_target)
