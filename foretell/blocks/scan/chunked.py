"""Fast forms of the linear scans: chunks for a decay per head, a loop or a tree per channel."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foretell.blocks.scan.chunks import (
    attend,
    bound_decay,
    check_sizes,
    log_mask,
    pairwise_sums,
    read,
    segment_starts,
    segments_to_chunks,
    sum_decays,
    summarise,
    to_chunks,
)
from foretell.blocks.scan.device import device_defaults
from foretell.blocks.scan.tree import Elements, associative_scan
from foretell.blocks.scan.window import start_window, window_state, windowed_ssd


def linear_scan(
    log_a: Float[Tensor, "batch time *channels"],
    b: Float[Tensor, "batch time *channels"],
    h0: Float[Tensor, "batch *channels"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time *channels"], Float[Tensor, "batch *channels"]]:
    """`naive.linear_scan` as a loop over unbound steps, a fused multiply-add each.

    On a CPU this beats the parallel scans. Steps are unbound once: the gradient of each x[:, t]
    would be a tensor of all steps. a_t is formed step by step, so that it is never stored whole.
    """
    if b.shape[1] == 0:
        return b.clone(), h0
    h, out = h0, []
    if segment is None:
        for log_a_t, b_t in zip(log_a.unbind(1), b.unbind(1), strict=True):
            h = torch.addcmul(b_t, log_a_t.exp(), h)
            out.append(h)
        return torch.stack(out, 1), h
    starts = segment_starts(segment).reshape(*b.shape[:2], *[1] * (b.ndim - 2))
    steps = zip(log_a.unbind(1), b.unbind(1), starts.unbind(1), strict=True)
    for log_a_t, b_t, start_t in steps:
        h = torch.addcmul(b_t, log_a_t.exp(), h.masked_fill(start_t, 0))
        out.append(h)
    return torch.stack(out, 1), h


def linear_scan_tree(
    log_a: Float[Tensor, "batch time *channels"],
    b: Float[Tensor, "batch time *channels"],
    h0: Float[Tensor, "batch *channels"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time *channels"], Float[Tensor, "batch *channels"]]:
    """`naive.linear_scan` by a tree over time: few, large operations.

    Operator: (a, b) + (a', b') = (a a', b a' + b'). Decays are only multiplied, never divided, so
    a reset is a = 0 here. NaN and infinity cross it.
    """
    if b.shape[1] == 0:
        return b.clone(), h0
    h = _scan_tree(log_a, b, h0, segment)
    return h, h[:, -1]


def _scan_tree(log_a: Tensor, b: Tensor, h0: Tensor, segment: Tensor | None) -> Tensor:
    """h of at least one step; axes of length 1 of log_a hold for all."""
    a = log_a.exp()
    if segment is not None:
        a = a.masked_fill(segment_starts(segment).view(*a.shape[:2], *[1] * (a.ndim - 2)), 0)
    first = torch.addcmul(b[:, :1], a[:, :1], h0[:, None])
    _, h = associative_scan(_compose, (a, torch.cat([first, b[:, 1:]], 1)))
    return h


def _compose(left: Elements, right: Elements) -> Elements:
    return left[0] * right[0], torch.addcmul(right[1], left[1], right[0])


def ssd_tree(
    x: Float[Tensor, "batch time heads width"],
    log_a: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    h0: Float[Tensor, "batch heads width state"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads width state"]]:
    """`naive.ssd` by a tree over time; it holds the states of all steps. NaN crosses resets."""
    if x.shape[1] == 0:
        return x.clone(), h0
    share = x.shape[2] // B.shape[2]
    added = x[..., None] * B.repeat_interleave(share, 2)[..., None, :]
    h = _scan_tree(log_a[..., None, None], added, h0, segment)
    return (h @ C.repeat_interleave(share, 2)[..., None])[..., 0], h[:, -1]


def ssd(
    x: Float[Tensor, "batch time heads width"],
    log_a: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    h0: Float[Tensor, "batch heads width state"],
    *,
    segment: Int[Tensor, "batch time"] | None = None,
    window: int | None = None,
    chunk_size: int | None = None,
    block_size: int = 1024,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads width state"]]:
    """`naive.ssd` by chunks: matrix products inside and between them (2405.21060, section 6).

    A loop over blocks of about `block_size` steps carries the state; the chunks of a block are
    computed at once. Without the loop time grows faster than the sequence. Neither size changes
    the result.

    Args:
        x: As in `naive.ssd`, like log_a, B, C, h0 and segment.
        log_a: Finite, at most 0; never -inf for a reset: give a segment.
        B: Input directions.
        C: Output directions.
        h0: State before the first step.
        segment: Resets so far. NaN and infinity spread over their chunk all the same, as 0 times
            NaN; only the loops of `naive` keep them before a reset.
        window: Number of inputs that a state remembers. The state after the last step does not
            say which of its inputs leaves next: use `windowed_ssd` to go on from it.
        chunk_size: Steps of a chunk; none = 32 on a CPU, 128 on a GPU.
        block_size: Steps of a block.

    Returns:
        y of every step, and the state after the last one.

    Raises:
        ValueError: If the groups do not divide the heads, or a size is below 1.
    """
    time = x.shape[1]
    if chunk_size is None:
        chunk_size = device_defaults(x.device.type).chunk_size
    check_sizes(x.shape[2], B.shape[2], chunk_size, block_size)
    if window is not None:
        start = start_window(h0, window, B.shape[2])
        y, carry = windowed_ssd(
            x, log_a, B, C, start, segment=segment, chunk_size=chunk_size, block_size=block_size
        )
        return y, window_state(carry)
    if time == 0:
        return x.clone(), h0
    log_a = bound_decay(log_a)
    size = min(chunk_size, time)
    block = max(1, block_size // size) * size
    if segment is None:
        masks = [_open_masks(size, x)] * -(-time // block)
    else:
        log_a = log_a.masked_fill(segment_starts(segment)[..., None], 0)
        before = functional.pad(segment, (1, 0))[:, :-1:block].unbind(1)
        masks = [
            _segment_masks(part, carried, size, x)
            for part, carried in zip(segment.split(block, 1), before, strict=True)
        ]
    pieces = zip(*(whole.split(block, 1) for whole in (x, log_a, B, C)), strict=True)
    h, out = h0, []
    for (x_in, log_a_in, B_in, C_in), mask in zip(pieces, masks, strict=True):
        y, h = _block(x_in, log_a_in, B_in, C_in, h, mask, size)
        out.append(y)
    return torch.cat(out, 1), h


class _Masks(NamedTuple):
    """Which decays of a block count, as 0 or -inf; axes of length 1 hold for all."""

    same: Bool[Tensor, "rows chunks size size"] | None
    """Step j is at or before step i, in the same segment; None without segments."""
    inside: Float[Tensor, "rows chunks 1 size size"]
    """From step j of a chunk to its step i."""
    to_end: Float[Tensor, "rows chunks 1 steps"]
    """From step j of a chunk to its end."""
    from_start: Float[Tensor, "rows chunks 1 steps"]
    """From the start of a chunk to its step i."""
    between: Float[Tensor, "rows 1 ends ends"]
    """From the end of chunk j to the end of chunk i; the first is the carried state."""


def _open_masks(size: int, like: Tensor) -> _Masks:
    causal = torch.ones(1, 1, 1, size, size, dtype=torch.bool, device=like.device).tril()
    zero = like.new_zeros(1, 1, 1, 1)
    return _Masks(None, log_mask(causal, like), zero, zero, zero)


def _segment_masks(segment: Tensor, carried: Tensor, size: int, like: Tensor) -> _Masks:
    steps = segments_to_chunks(segment, size)
    ends = torch.cat([carried[:, None], steps[..., -1]], 1)
    same = (steps[..., None] == steps[..., None, :]).tril()
    return _Masks(
        same,
        log_mask(same[:, :, None], like),
        log_mask((steps == ends[:, 1:, None])[:, :, None], like),
        log_mask((steps == ends[:, :-1, None])[:, :, None], like),
        log_mask((ends[:, :, None] == ends[:, None])[:, None], like),
    )


def _block(
    x: Float[Tensor, "batch time heads width"],
    log_a: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    h: Float[Tensor, "batch heads width state"],
    mask: _Masks,
    size: int,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads width state"]]:
    """All chunks of a block at once: y = inside + from the state before the chunk."""
    time = x.shape[1]
    x, B, C = to_chunks(x, size), to_chunks(B, size), to_chunks(C, size)
    c = sum_decays(to_chunks(log_a, size), mask.same)  # [batch, n, heads, size]
    total = c[..., -1]
    # A sum, for the gradient of a difference would negate all pairs.
    inside = attend(x, B, C, c[..., None] + (-c)[..., None, :] + mask.inside)

    added = summarise(x, B, total[..., None] - c + mask.to_end)
    states = torch.cat([h[:, None], added], 1).transpose(
        1, 2
    )  # [batch, heads, n + 1, width, state]
    sums = pairwise_sums(functional.pad(total.transpose(1, 2), (1, 0)))
    states = ((sums + mask.between).exp() @ states.flatten(3)).unflatten(3, h.shape[2:])
    before = states[:, :, :-1].transpose(1, 2)

    y = inside + read(before, C, c + mask.from_start)
    return y.flatten(1, 2)[:, :time], states[:, :, -1]
