"""w . relu(P[u] + Q[v] + extra) for many pairs: the decoder of links without its big tensors.

Linear(concat(h_u, h_v)) is P[u] + Q[v] with P, Q computed once for each node; of two logits only
their difference matters. Training keeps nothing for each pair and hidden unit: the backward pass
computes them again, block by block, and its sums are products with small sparse matrices.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.data.adjacency import SparseOperator

BLOCK_NUMBERS = 1 << 18
"""Hidden units computed at a time, so that they stay in a core's cache."""


def pair_scores_naive(
    p: Float[Tensor, "sources hidden"],
    q: Float[Tensor, "targets hidden"],
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
    p: Float[Tensor, "sources hidden"],
    q: Float[Tensor, "targets hidden"],
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
    scores: Tensor = _PairScores.apply(p, q, w, pairs, extra, extra_at)  # type: ignore[no-untyped-call]
    return scores


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, p: Tensor, q: Tensor, w: Tensor, pairs: Tensor, extra: Any, extra_at: Any
    ) -> Tensor:
        ctx.save_for_backward(p, q, w, pairs, extra, extra_at)
        scores = p.new_empty(pairs.shape[1])
        hidden = _Hidden(p, q, pairs, extra, extra_at)
        for part in hidden.parts():
            torch.mv(hidden.of(part).clamp_(min=0), w, out=scores[part])
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        p, q, w, pairs, extra, extra_at = ctx.saved_tensors
        hidden = _Hidden(p, q, pairs, extra, extra_at)
        # sum over the pairs of a source (target) of grad * sign, which d/dp, d/dq and d/dw share
        of_source, of_target = (hidden.sum_signs(row, grad) for row in (0, 1))
        grad_w = torch.einsum("nh,nh->h", p, of_source) + torch.einsum("nh,nh->h", q, of_target)
        grad_extra = None
        if extra is not None:
            u, v = pairs[:, extra_at]
            some = (p[u] + q[v] + extra > 0) * grad[extra_at, None]
            grad_w += torch.einsum("nh,nh->h", extra, some)
            grad_extra = some * w
        return of_source * w, of_target * w, grad_w, None, grad_extra, None


class _Hidden:
    """The hidden layer before its ReLU, a few pairs at a time and never kept: writing it to fresh
    memory would take longer than computing it again."""

    def __init__(self, p: Tensor, q: Tensor, pairs: Tensor, extra: Any, extra_at: Any) -> None:
        self.p, self.q, self.pairs, self.extra = p, q, pairs, extra
        self.rows = max(1, BLOCK_NUMBERS // p.shape[1])
        self.buffers = p.new_empty(2, self.rows, p.shape[1])
        self.place: Tensor | None = None
        if extra is not None and len(extra):
            self.place = pairs.new_full((pairs.shape[1],), -1)
            self.place[extra_at] = torch.arange(len(extra), device=pairs.device)

    def parts(self) -> list[slice]:
        """Blocks of pairs."""
        count = self.pairs.shape[1]
        return [slice(start, min(start + self.rows, count)) for start in range(0, count, self.rows)]

    def of(self, part: slice | Tensor) -> Tensor:
        """P[u] + Q[v] + extra of some pairs, in a buffer that the next call overwrites."""
        u, v = self.pairs[:, part]
        hidden: Tensor = self.buffers[0, : len(u)]
        other: Tensor = self.buffers[1, : len(u)]
        torch.index_select(self.p, 0, u, out=hidden)
        torch.index_select(self.q, 0, v, out=other)
        hidden += other
        if self.place is not None:
            place = self.place[part]
            some = (place >= 0).nonzero()[:, 0]
            hidden.index_add_(0, some, self.extra[place[some]])
        return hidden

    def sum_signs(self, row: int, grad: Tensor) -> Tensor:
        """sum_i grad[i] (hidden[i] > 0) into the source (row 0) or target (row 1) of pair i."""
        keys = self.pairs[row]
        total = torch.zeros_like((self.p, self.q)[row])
        order = None
        if not bool((keys[1:] >= keys[:-1]).all()):
            order = keys.argsort(stable=True)
        for part in self.parts():
            chosen = part if order is None else order[part]
            sign = self.of(chosen).clamp_(min=0).sign_()
            own = keys[chosen]
            first = int(own[0])
            counts = torch.bincount(own - first)
            starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
            columns = torch.arange(len(own), device=own.device)
            summed = SparseOperator(starts, columns, grad[chosen], len(own)).multiply(sign)
            total[first : first + len(counts)] += summed
        return total


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
