"""w . relu(P[u] + Q[v] + extra) for many pairs: the decoder of links without its big tensors.

Linear(concat(h_u, h_v)) is P[u] + Q[v] with P, Q computed once for each node; of two logits only
their difference matters. Training keeps nothing for each pair and hidden unit: the backward pass
computes them again, block by block, and its sums are products with small sparse matrices.
"""

from collections.abc import Iterator
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
        for part, hidden, _ in _blocks(p, q, pairs, extra, extra_at):
            torch.mv(hidden.clamp_(min=0), w, out=scores[part])
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        p, q, w, pairs, extra, extra_at = ctx.saved_tensors
        # sums over the pairs of a source (target) of grad * (hidden > 0): all gradients share them
        of_source, of_target = torch.zeros_like(p), torch.zeros_like(q)
        of_extra = None if extra is None else torch.empty_like(extra)
        ascending = bool((pairs[0, 1:] >= pairs[0, :-1]).all())
        for part, hidden, some in _blocks(p, q, pairs, extra, extra_at):
            sign = hidden.clamp_(min=0).sign_()
            u, v = pairs[:, part]
            if ascending:
                _add_segments(of_source, u, sign, grad[part])
                sign *= grad[part, None]
            else:
                sign *= grad[part, None]
                of_source.index_add_(0, u, sign)
            of_target.index_add_(0, v, sign)
            if of_extra is not None:
                torch.index_select(sign, 0, extra_at[some] - part.start, out=of_extra[some])
        grad_w = (p * of_source).sum(0) + (q * of_target).sum(0)
        if of_extra is not None:
            grad_w += (extra * of_extra).sum(0)
            of_extra *= w
        return of_source.mul_(w), of_target.mul_(w), grad_w, None, of_extra, None


def _blocks(
    p: Tensor, q: Tensor, pairs: Tensor, extra: Any, extra_at: Any
) -> Iterator[tuple[slice, Tensor, slice]]:
    """Some pairs, their hidden units before the ReLU, and which rows of extra are theirs.

    The units stand in a buffer that the next block overwrites: writing them to fresh memory would
    take longer than computing them again.
    """
    count, rows = pairs.shape[1], max(1, BLOCK_NUMBERS // p.shape[1])
    buffers = p.new_empty(2, min(rows, count), p.shape[1])
    starts = torch.arange(0, count + rows, rows)
    borders = [0] * len(starts) if extra is None else torch.searchsorted(extra_at, starts).tolist()
    for block, start in enumerate(range(0, count, rows)):
        part = slice(start, min(start + rows, count))
        some = slice(borders[block], borders[block + 1])
        u, v = pairs[:, part]
        hidden, other = buffers[:, : len(u)]
        torch.index_select(p, 0, u, out=hidden)
        torch.index_select(q, 0, v, out=other)
        hidden += other
        if some.stop > some.start:
            hidden.index_add_(0, extra_at[some] - start, extra[some])
        yield part, hidden, some


def _add_segments(total: Tensor, keys: Tensor, rows: Tensor, factors: Tensor) -> None:
    """total[k] += factors of the rows with key k, times these rows; keys ascend."""
    first = int(keys[0])
    counts = torch.bincount(keys - first)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    columns = torch.arange(len(keys), device=keys.device)
    summed = SparseOperator(starts, columns, factors, len(keys)).multiply(rows)
    total[first : first + len(counts)] += summed


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
