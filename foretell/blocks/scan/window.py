"""Sliding window of a matrix state: every step sees its last inputs only (2410.07145v1)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
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
from foretell.blocks.scan.recent import decay_since


class WindowCarry(NamedTuple):
    """What a windowed sequence needs to go on: its last inputs, oldest first."""

    h: Float[Tensor, "batch heads width state"]
    """What is left of the initial state."""
    age: Int[Tensor, " batch"]
    """Steps since the initial state; from `window` on h no longer counts."""
    x: Float[Tensor, "batch window heads width"]
    """Last inputs; 0 where there were none, or a reset came after them."""
    log_a: Float[Tensor, "batch window heads"]
    """Their decays."""
    B: Float[Tensor, "batch window groups state"]
    """Their directions."""


def start_window(
    h0: Float[Tensor, "batch heads width state"], window: int, num_groups: int
) -> WindowCarry:
    """Carry before the first step; h0 counts as one input, of the step before it.

    Raises:
        ValueError: If the window is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    batch, heads, width, state = h0.shape
    return WindowCarry(
        h0,
        torch.zeros(batch, dtype=torch.int64, device=h0.device),
        h0.new_zeros(batch, window, heads, width),
        h0.new_zeros(batch, window, heads),
        h0.new_zeros(batch, window, num_groups, state),
    )


def window_state(carry: WindowCarry) -> Float[Tensor, "batch heads width state"]:
    """S of the last step: what is left of h, and the remembered inputs, decayed to this step."""
    after = decay_since(carry.log_a)
    inputs = summarise(carry.x[:, None], carry.B[:, None], after.transpose(1, 2)[:, None])[:, 0]
    gone = carry.age >= carry.x.shape[1]
    return inputs + carry.h.masked_fill(gone[:, None, None, None], 0)


def windowed_ssd(
    x: Float[Tensor, "batch time heads width"],
    log_a: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    carry: WindowCarry,
    *,
    segment: Int[Tensor, "batch time"] | None = None,
    lengths: Int[Tensor, " batch"] | None = None,
    chunk_size: int | None = None,
    block_size: int = 1024,
) -> tuple[Float[Tensor, "batch time heads width"], WindowCarry]:
    """`naive.ssd` with a window, in pieces that carry on.

    y_t = sum_{t-r < j <= t} (a_{j+1} ... a_t) x_j B_j^T C_t; nothing is subtracted. With chunks
    of Q steps and m = r // Q a step sees part of its own chunk and of those m and m + 1 before it,
    which are weighed pair by pair, and all of the m - 1 between, which enter by their states. The
    cost of a step does not grow with r.

    Args:
        x: As in `naive.ssd`, like log_a, B, C and segment.
        log_a: Finite, at most 0.
        B: Input directions.
        C: Output directions.
        carry: From `start_window` or an earlier call; its length is the window r.
        segment: Resets so far; the carry belongs to segment 0. NaN and infinity spread over what
            is computed at once all the same.
        lengths: Steps of each row that enter the returned carry; None = all. y is right up to it.
        chunk_size: Steps Q of a chunk, no influence on the result; none = 32 on a CPU, 128 on a
            GPU.
        block_size: Least number of steps that are computed at once.

    Returns:
        y of every step, and the carry after the last one.

    Raises:
        ValueError: If the groups do not divide the heads, or a size is below 1.
    """
    if chunk_size is None:
        chunk_size = device_defaults(x.device.type).chunk_size
    check_sizes(x.shape[2], B.shape[2], chunk_size, block_size)
    time, window = x.shape[1], carry.x.shape[1]
    if time == 0:
        return x.clone(), carry
    if segment is None:
        segment = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
    log_a = bound_decay(log_a).masked_fill(segment_starts(segment)[..., None], 0)

    reach = (window // chunk_size + 1) * chunk_size  # steps before a chunk that it may see
    block = -(-max(block_size, window) // chunk_size) * chunk_size
    past = [_pad_front(ring, reach - window) for ring in (carry.x, carry.log_a, carry.B)]
    past.append(segment.new_zeros(len(x), reach))
    out = []
    pieces = zip(*(whole.split(block, 1) for whole in (x, log_a, B, segment, C)), strict=True)
    for *piece, C_piece in pieces:
        x_in, log_a_in, B_in, segment_in = map(_join, past, piece)
        out.append(_block(x_in, log_a_in, B_in, segment_in, C_piece, window, chunk_size))
        past = [steps[:, -reach:] for steps in (x_in, log_a_in, B_in, segment_in)]
    y = torch.cat(out, 1)
    early = min(time, window - 1)
    if early > 0:
        first = _read_initial(log_a[:, :early], C[:, :early], segment[:, :early], carry)
        y = torch.cat([y[:, :early] + first, y[:, early:]], 1)
    return y, _advance(carry, x, log_a, B, segment, lengths)


def _join(past: Tensor, piece: Tensor) -> Tensor:
    return torch.cat([past, piece], 1)


def _pad_front(ring: Tensor, steps: int) -> Tensor:
    return functional.pad(ring, (0, 0) * (ring.ndim - 2) + (steps, 0))


def _read_initial(log_a: Tensor, C: Tensor, segment: Tensor, carry: WindowCarry) -> Tensor:
    """Outputs that the initial state gives until it leaves the window or a reset comes."""
    steps = torch.arange(1, log_a.shape[1] + 1, device=log_a.device)
    keep = (segment == 0) & (carry.age[:, None] + steps < carry.x.shape[1])
    log_decay = log_a.cumsum(1) + log_mask(keep, log_a)[..., None]
    return read(carry.h[:, None], C[:, None], log_decay.transpose(1, 2)[:, None])[:, 0]


def _advance(
    carry: WindowCarry,
    x: Tensor,
    log_a: Tensor,
    B: Tensor,
    segment: Tensor,
    lengths: Tensor | None,
) -> WindowCarry:
    batch, window = carry.x.shape[:2]
    if lengths is None:
        lengths = torch.full((batch,), x.shape[1], device=x.device)
    kept = lengths[:, None] + torch.arange(window, device=x.device)  # [batch, window]
    row = torch.arange(batch, device=x.device)[:, None]
    news = ((carry.x, x), (carry.log_a, log_a), (carry.B, B))
    last_x, last_log_a, last_B = (torch.cat(pair, 1)[row, kept] for pair in news)
    segments = torch.cat([segment.new_zeros(batch, window), segment], 1)[row, kept]
    old = segments != segments[:, -1:]
    valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    decay = log_a.masked_fill(~valid[..., None], 0).sum(1).exp()
    h = decay[..., None, None] * carry.h
    return WindowCarry(
        h.masked_fill((segments[:, -1] != 0)[:, None, None, None], 0),
        carry.age + lengths,
        last_x.masked_fill(old[..., None, None], 0),
        last_log_a,
        last_B,
    )


def _block(
    x: Float[Tensor, "batch joined heads width"],
    log_a: Float[Tensor, "batch joined heads"],
    B: Float[Tensor, "batch joined groups state"],
    segment: Int[Tensor, "batch joined"],
    C: Float[Tensor, "batch time groups state"],
    window: int,
    size: int,
) -> Float[Tensor, "batch time heads width"]:
    """Outputs of the last `time` of the joined steps; the chunks before them are only seen."""
    whole = window // size  # m: chunks that far back are seen in part
    x, B, steps = to_chunks(x, size), to_chunks(B, size), segments_to_chunks(segment, size)
    same = (steps[..., None] == steps[..., None, :]).tril()
    c = sum_decays(to_chunks(log_a, size), same)  # [batch, chunks, heads, size]
    y_time, C = C.shape[1], to_chunks(C, size)
    count = C.shape[1]
    now = slice(whole + 1, None)
    total, ends = c[..., -1], steps[..., -1]
    sums = pairwise_sums(total.transpose(1, 2))  # [batch, heads, chunks, chunks]

    index = torch.arange(size, device=x.device)
    y = torch.zeros_like(x[:, now])
    for lag in sorted({0, max(1, whole), whole + 1}):
        then = slice(whole + 1 - lag, whole + 1 - lag + count)
        apart = index[:, None] - index + lag * size
        keep = (steps[:, now, :, None] == steps[:, then, None]) & (apart >= 0) & (apart < window)
        if lag == 0:
            log_decay = c[:, now, :, :, None] - c[:, now, :, None]
        else:
            skipped = sums.diagonal(1 - lag, 2, 3)[..., then].transpose(1, 2)
            left = (total[..., None] - c)[:, then] + skipped[..., None]
            log_decay = c[:, now, :, :, None] + left[..., None, :]
        y = y + attend(x[:, then], B[:, then], C, log_decay + log_mask(keep, x)[:, :, None])
    if whole > 1:
        to_end = log_mask(steps == ends[..., None], x)[:, :, None]
        added = summarise(x, B, total[..., None] - c + to_end).transpose(1, 2)
        rows = slice(whole, whole + count)  # the chunk before each
        chunks = torch.arange(len(ends[0]), device=x.device)
        near = chunks[rows, None] - chunks < whole - 1
        between = log_mask(near & (ends[:, rows, None] == ends[:, None]), x)[:, None]
        states = (sums[:, :, rows] + between).exp() @ added.flatten(3)
        before = states.unflatten(3, added.shape[3:]).transpose(1, 2)
        from_start = log_mask(steps[:, now] == ends[:, rows, None], x)[:, :, None]
        y = y + read(before, C, c[:, now] + from_start)
    return y.flatten(1, 2)[:, :y_time]
