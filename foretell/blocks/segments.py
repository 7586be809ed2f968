"""Sequences that restart inside a row: resets, packed rows, and how blocks without gates run them.

A block that has no gate to close (an LSTM kernel, an FFT) runs the pieces between resets as rows of
their own: `run_segments` cuts, runs and puts them back.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils import _pytree

from foretell.blocks.protocol import (
    SequenceMixer,
    active_steps,
    check_input,
    check_reset,
    mask_steps,
    where_rows,
)


class Segments(NamedTuple):
    """The uninterrupted pieces of a batch, row by row in order of time."""

    row: Int[Tensor, " segments"]
    """Row of the batch."""
    start: Int[Tensor, " segments"]
    """First step in that row."""
    length: Int[Tensor, " segments"]
    """Steps; 0 only for a row without valid steps."""
    fresh: Bool[Tensor, " segments"]
    """Begins from the initial state, not from the one that was carried in."""
    last: Bool[Tensor, " segments"]
    """Last piece of its row."""


def reset_from_cu_seqlens(cu_seqlens: Int[Tensor, " borders"], time: int) -> Bool[Tensor, "1 time"]:
    """Resets of one packed row from cumulative offsets, the varlen input of attention kernels.

    Args:
        cu_seqlens: 0 = c_0 <= c_1 <= ... <= c_n = time; equal neighbours are empty sequences.
        time: Steps of the row.

    Raises:
        ValueError: The offsets do not rise from 0 to `time`.

    Example:
        >>> reset_from_cu_seqlens(torch.tensor([0, 2, 5]), 5).int().tolist()
        [[1, 0, 1, 0, 0]]
    """
    offsets = cu_seqlens.tolist()
    if not offsets or offsets[0] != 0 or offsets[-1] != time or offsets != sorted(offsets):
        raise ValueError(f"cu_seqlens must rise from 0 to {time}, got {offsets}")
    reset = torch.zeros(1, time, dtype=torch.bool, device=cu_seqlens.device)
    starts = cu_seqlens[:-1]
    reset[0, starts[starts < time].long()] = True
    return reset


def segment_ids(reset: Bool[Tensor, "batch time"] | None) -> Int[Tensor, "batch time"] | None:
    """Number of resets up to and including each step: 0 = the carried state still counts."""
    return None if reset is None else reset.long().cumsum(1)


def discard_state(block: SequenceMixer, state: Any, reset: Bool[Tensor, "batch time"]) -> Any:
    """The initial state in the rows that are reset at their first step.

    A scan multiplies what a reset discards by 0, which would keep NaN and infinity.
    """
    if not reset.shape[1]:
        return state
    kind = next(t.dtype for t in _pytree.tree_leaves(state) if t.is_floating_point())
    return where_rows(reset[:, 0], block.init_state(len(reset), reset.device, kind), state)


def find_segments(
    reset: Bool[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None
) -> Segments:
    """Cut the rows of a batch at their resets; resets in the padding do not count."""
    batch, time = reset.shape
    active = active_steps(time, lengths=lengths, like=reset)
    cuts = reset if active is None else reset & active
    begins = cuts.clone()
    begins[:, :1] = True
    rows, starts = begins.nonzero(as_tuple=True)
    if not time:
        rows, starts = torch.arange(batch, device=reset.device), reset.new_zeros(batch).long()
    valid = reset.new_full((batch,), time, dtype=torch.int64)
    if lengths is not None:
        valid = lengths.to(valid)
    last = torch.ones_like(rows, dtype=torch.bool)
    last[:-1] = rows[1:] != rows[:-1]
    ends = torch.where(last, valid[rows], starts.roll(-1))
    fresh = cuts[rows, starts] if time else torch.zeros_like(last)
    return Segments(rows, starts, ends - starts, fresh, last)


def run_segments(
    run: Callable[[Tensor, Any, Tensor], tuple[Tensor, Any]],
    x: Tensor,
    state: Any,
    fresh_state: Any,
    *,
    lengths: Int[Tensor, " batch"] | None,
    reset: Bool[Tensor, "batch time"],
) -> tuple[Tensor, Any]:
    """Run the pieces between resets as rows of their own, those of similar length together.

    A batch for each power of two of the length: less than half of it is padding, however long one
    piece and however many short ones there are.

    Args:
        run: (x, state, lengths) -> (y, state) without resets; x is 0 beyond the lengths.
        x: [batch, time, ...].
        state: State of the rows.
        fresh_state: Initial state of as many rows.
        lengths: Valid steps of each row.
        reset: Where the rows restart.

    Returns:
        y [batch, time, ...] and the state of each row's last piece.

    Raises:
        ValueError: `reset` is not bool [batch, time].
    """
    check_reset(reset, x)
    found = find_segments(reset, lengths)
    bits = torch.frexp((found.length - 1).clamp(min=0).double()).exponent
    groups = [Segments(*(field[bits == n] for field in found)) for n in bits.unique()] or [found]
    outputs, places, ends = [], [], []
    for pieces in groups:
        at, inside = _steps_of(pieces, x.shape[1])
        rows = mask_steps(x[at], inside)  # not what comes after the piece
        of_row: Any = _pytree.tree_map(lambda tensor, row=pieces.row: tensor[row], state)
        of_fresh: Any = _pytree.tree_map(lambda tensor, row=pieces.row: tensor[row], fresh_state)
        y, end = run(rows, where_rows(pieces.fresh, of_fresh, of_row), pieces.length)
        outputs.append(y[inside])
        places.append(torch.stack([step[inside] for step in at]))
        ends.append(_pytree.tree_map(lambda tensor, last=pieces.last: tensor[last], end))
    y = torch.cat(outputs)
    joined = y.new_zeros(*x.shape[:2], *y.shape[1:])
    joined = joined.index_put(tuple(torch.cat(places, 1)), y)
    order = torch.cat([pieces.row[pieces.last] for pieces in groups]).argsort()
    final: Any = _pytree.tree_map(lambda *parts: torch.cat(parts)[order], *ends)
    return joined, final


def _steps_of(
    pieces: Segments, time: int
) -> tuple[
    tuple[Int[Tensor, "segments steps"], Int[Tensor, "segments steps"]],
    Bool[Tensor, "segments steps"],
]:
    """Rows and steps of the pieces, padded to the longest, and which of them are no padding."""
    longest = int(pieces.length.max()) if len(pieces.row) else 0
    longest = max(longest, min(time, 1))  # Rows without valid steps are padding, not nothing.
    offsets = torch.arange(longest, device=pieces.row.device)
    steps = (pieces.start[:, None] + offsets).clamp(max=max(0, time - 1))
    return (pieces.row[:, None].expand_as(steps), steps), offsets < pieces.length[:, None]


TIME_BLOCK = 1024
"""Steps that a layer takes at once on a CPU."""


def run_blocks(
    run: Callable[..., tuple[Tensor, Any]],
    x: Tensor,
    state: Any,
    lengths: Int[Tensor, " batch"] | None,
    reset: Bool[Tensor, "batch time"] | None = None,
    *,
    block_size: int,
) -> tuple[Tensor, Any]:
    """Run a long sequence on a CPU block after block, the state carried between: the same numbers.

    Tensors of all steps of a long sequence come from fresh pages, which cost a CPU more than the
    arithmetic on them: a whole Mamba-2 layer takes twice the time of its blocks at 16,384 steps.

    Args:
        run: (x, state, lengths) -> (y, state); with `reset`, (x, state, lengths, reset).
        x: [batch, time, ...].
        state: State of the rows.
        lengths: Valid steps of each row.
        reset: Where the rows restart.
        block_size: Steps of a block.
    """
    if x.device.type != "cpu" or x.shape[1] <= block_size or torch.compiler.is_compiling():
        return run(x, state, lengths) if reset is None else run(x, state, lengths, reset)
    outputs = []
    for index, piece in enumerate(x.split(block_size, 1)):  # slices would have a gradient of all
        start = index * block_size
        sizes = None if lengths is None else (lengths - start).clamp(0, piece.shape[1])
        resets = () if reset is None else (reset[:, start : start + block_size],)
        y, state = run(piece, state, sizes, *resets)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def forward_rows(
    block: SequenceMixer,
    run: Callable[[Tensor, Any, Any], tuple[Tensor, Any]],
    x: Tensor,
    state: Any,
    *,
    lengths: Int[Tensor, " batch"] | None,
    reset: Bool[Tensor, "batch time"] | None,
    block_size: int | None = None,
) -> tuple[Tensor, Any]:
    """`SequenceMixer.forward` of a block on [batch, time, input_dim] that has no gates to close.

    Args:
        block: Its widths and its initial state.
        run: (x, state, lengths) -> (y, state) for at least one step without resets; x is finite
            beyond the lengths, and y there is dropped.
        x: As in `SequenceMixer.forward`, like all that follows.
        state: Of the rows; none = the initial one.
        lengths: Valid steps of each row.
        reset: Where the rows restart.
        block_size: `run` may take so many steps at a time (see `run_blocks`); none = only all.
    """
    check_input(x, block.input_dim)
    state, active = block._begin(x, state, lengths=lengths, reset=reset)
    if not (len(x) and x.shape[1]):
        return x.new_zeros(*x.shape[:2], block.output_dim), state
    x = mask_steps(x, active)
    rows = run if block_size is None else partial(run_blocks, run, block_size=block_size)
    if reset is None:
        y, state = rows(x, state, lengths)
    else:
        kind = next(t.dtype for t in _pytree.tree_leaves(state) if t.is_floating_point())
        fresh = block.init_state(len(x), x.device, kind)
        y, state = run_segments(rows, x, state, fresh, lengths=lengths, reset=reset)
    return mask_steps(y, active), state


def all_finite(y: Tensor) -> bool:
    """No NaN and no infinity; taken for granted in a graph that is being compiled or exported."""
    return torch.compiler.is_compiling() or bool(y.isfinite().all())


def run_apart(
    block: SequenceMixer,
    x: Tensor,
    state: Any,
    *,
    lengths: Int[Tensor, " batch"] | None,
    reset: Bool[Tensor, "batch time"],
) -> tuple[Tensor, Any]:
    """`forward` of a block with gates, but the pieces between resets as rows of their own.

    The fast scans multiply what a reset separates by 0, and 0 times NaN is NaN, in the backward
    pass too: a block whose outputs are not `all_finite` (one synchronisation of a GPU) answers by
    this instead. What overflows only after the block is not seen: NaN in the gradient of y still
    reaches all of its chunk.
    """

    def run(rows: Tensor, begin: Any, sizes: Tensor) -> tuple[Tensor, Any]:
        y, end = block(rows, begin, lengths=sizes)
        return y, end

    return forward_rows(block, run, x, state, lengths=lengths, reset=reset)
