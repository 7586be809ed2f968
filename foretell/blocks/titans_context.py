"""Titans with its neural memory as context of attention (MAC)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.blocks.persistent_attention import PersistentAttention
from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.segments import forward_rows
from foretell.blocks.titans import TitansMemory, TitansState
from foretell.blocks.window_attention import last_steps


class SegmentState(NamedTuple):
    """What attention keeps of the last segment_size - 1 steps, the oldest first."""

    keys: Float[Tensor, "batch kept pair"]
    """Of h_j and of c_j, side by side; 0 where there was no step yet."""
    values: Float[Tensor, "batch kept pair"]
    """As keys."""
    taps: Float[Tensor, "batch dim taps"]
    """Inputs of q that its convolution still reads."""


class MemoryContextState(NamedTuple):
    """Of both parts; the memory counts the steps."""

    memory: TitansState
    segment: SegmentState


class MemoryAsContext(SequenceMixer):
    """MAC (2501.00663, section 4.1): attention inside segments, with what the memory knows of them.

    For a segment c: h = M(q(c)) by the memory before c; y = attention of c over [P ; h ; c]; M is
    updated with y; o = y (x) M(y). P are learned tokens. Segments are the memory's chunks, counted
    from position 0.

    Token i sees c_j and h_j for j <= i alone, and o_i reads the memory after token i: the equations
    leak the future inside a segment. `causal_guard=False` is the equations to the letter: every
    token sees all of h, and o_i reads the memory after all tokens of its segment; what a call does
    not hold of a segment does not exist for it.

    Deviations: the paper runs attention from P and h, too, and does not say which of its outputs
    the memory learns; here those of c. The paper's mask for h is to be confirmed. q of c and of y
    is one map, with inputs of its convolution kept apart.

    Args:
        input_dim: Width of x and y.
        num_heads: Heads of the attention.
        segment_size: Tokens of a segment, and of a chunk of the memory; part of the model.
        num_persistent: Tokens of P.
        depth: As in `TitansMemory`.
        hidden_dim: As in `TitansMemory`.
        causal_guard: See above; without it the block is neither causal nor streamable.
        conv_width: As in `TitansMemory`.
        silu: As in `TitansMemory`.
        normalise: As in `TitansMemory`.
        seed_dim: As in `TitansMemory`.
        readout_dim: As in `TitansMemory`.
    """

    chunk_invariant = False

    def __init__(
        self,
        input_dim: int,
        num_heads: int,
        *,
        segment_size: int = 16,
        num_persistent: int = 4,
        depth: int = 2,
        hidden_dim: int | None = None,
        causal_guard: bool = True,
        conv_width: int | None = 4,
        silu: bool = True,
        normalise: bool = True,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__()
        if segment_size < 1:
            raise ValueError(f"segment_size must be at least 1, got {segment_size}")
        self.input_dim = self.output_dim = input_dim
        self.segment_size, self.causal_guard = segment_size, causal_guard
        self.causal = self.streamable = causal_guard
        self.memory = TitansMemory(
            input_dim, depth=depth, hidden_dim=hidden_dim, chunk_size=segment_size,
            conv_width=conv_width, silu=silu, normalise=normalise, seed_dim=seed_dim,
            readout_dim=readout_dim,
        )  # fmt: skip
        self.seed_dim = self.memory.seed_dim
        self.attention = PersistentAttention(input_dim, num_heads, num_persistent=num_persistent)

    def reset_parameters(self) -> None:
        """Of both parts."""
        self.memory.reset_parameters()
        self.attention.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, segment_size={self.segment_size}, "
            f"causal_guard={self.causal_guard}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> MemoryContextState:
        """The memory's start and no step yet."""
        memory = self.memory.init_state(batch, device, dtype)
        empty = memory.conv.new_zeros(batch, self.segment_size - 1, 2 * self.input_dim)
        taps = memory.conv.new_zeros(batch, self.input_dim, memory.conv.shape[-1])
        return MemoryContextState(memory, SegmentState(empty, torch.zeros_like(empty), taps))

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> MemoryContextState:
        """The memory that a learned map makes of a vector, and no step yet.

        Raises:
            ValueError: The block was made without `seed_dim`, or h has another width.
        """
        return self.init_state(len(h), h.device)._replace(memory=self.memory.seed_state(h))

    def readout(self, state: MemoryContextState) -> Float[Tensor, "batch readout_dim"]:
        """A learned summary of the memory.

        Raises:
            ValueError: The block was made without `readout_dim`.
        """
        return self.memory.readout(state.memory)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: MemoryContextState
    ) -> tuple[Float[Tensor, "batch output_dim"], MemoryContextState]:
        """One token: softmax over its segment so far, then a step of the memory.

        Raises:
            NotImplementedError: Without the causal guard.
        """
        if not self.causal_guard:
            raise NotImplementedError(
                "with causal_guard=False a token sees the rest of its segment, "
                "which no step has: run forward"
            )
        self._check_step(x_t, state)
        before = state.segment
        tokens, taps = self._tokens(x_t[:, None], before.taps, None)
        one = torch.ones_like(state.memory.position)
        mixed, k, v = self._attend(tokens, state.memory, one, before=before)
        y = self.attention.project_output(mixed, x_t.dtype)[:, 0]
        told, memory = self.memory.step(y, state.memory)
        keys, values = torch.cat([before.keys, k], 1), torch.cat([before.values, v], 1)
        return y * told, MemoryContextState(memory, SegmentState(keys[:, 1:], values[:, 1:], taps))

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryContextState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryContextState]:
        """All steps; see `SequenceMixer.forward`. Segments begin anew at a reset."""
        run = partial(self._run, aligned=state is None)
        return forward_rows(self, run, x, state, lengths=lengths, reset=reset)

    def _run(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryContextState,
        lengths: Int[Tensor, " batch"] | None,
        *,
        aligned: bool,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryContextState]:
        """Rows without resets, segment by segment; `aligned`: all of them begin a segment."""
        memory, before = state
        sizes = torch.full_like(memory.position, x.shape[1])
        sizes = sizes if lengths is None else lengths.to(sizes)
        tokens, taps = self._tokens(x, before.taps, None if lengths is None else sizes)
        pieces, counts, index = _split(
            tokens, self.segment_size, memory.position, sizes, aligned=aligned
        )
        parts = []
        for place, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
            mixed, k, v = self._attend(piece, memory, count, before=before if not place else None)
            y = self.attention.project_output(mixed, x.dtype)
            told, memory = self._tell(y, memory, count, aligned=aligned or place > 0)
            parts.append((y * told, k, v))
        o, k, v = (
            torch.cat(part, 1).gather(1, _like(index, part[0])) for part in zip(*parts, strict=True)
        )
        keys, values = (
            last_steps(torch.cat(pair, 1), sizes, self.segment_size - 1)
            for pair in ((before.keys, k), (before.values, v))
        )
        return o, MemoryContextState(memory, SegmentState(keys, values, taps))

    def _tokens(
        self,
        x: Float[Tensor, "batch time dim"],
        taps: Float[Tensor, "batch dim taps"],
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time parts"], Float[Tensor, "batch dim taps"]]:
        """Attention's q, k and v and the memory's q, all of c, side by side."""
        asked, after = self.memory.queries(x, taps, lengths)
        q = self.attention.project_queries(x, taps.dtype)
        return torch.cat([q, *self.attention.project_keys(x, taps.dtype), asked], -1), after

    def _attend(
        self,
        tokens: Float[Tensor, "batch tokens parts"],
        memory: TitansState,
        sizes: Int[Tensor, " batch"],
        *,
        before: SegmentState | None,
    ) -> tuple[
        Float[Tensor, "batch tokens dim"],
        Float[Tensor, "batch tokens pair"],
        Float[Tensor, "batch tokens pair"],
    ]:
        """Attention of tokens of one segment over [P ; h ; c].

        Args:
            tokens: Of `_tokens`.
            memory: As it stands before them.
            sizes: Tokens of each row that count.
            before: Holds the tokens of the segment that came before; none = they begin it.

        Returns:
            What attention mixes, and the pairs of keys and of values of these tokens.
        """
        q, k_c, v_c, asked = tokens.chunk(4, -1)
        h = self.memory.recall(asked, memory, at_chunk_start=True)
        k_h, v_h = self.attention.project_keys(h, q.dtype)
        k, v = torch.cat([k_h, k_c], -1), torch.cat([v_h, v_c], -1)
        keys, values, kept = k, v, 0
        if before is not None:
            keys, values = torch.cat([before.keys, k], 1), torch.cat([before.values, v], 1)
            kept = before.keys.shape[1]
        # Place of every pair, 0 = the first of these tokens.
        place = torch.arange(keys.shape[1], device=q.device) - kept
        inside = place >= -(memory.position % self.segment_size)[:, None]
        causal = place <= torch.arange(q.shape[1], device=q.device)[:, None]
        sees_c = inside[:, None] & causal
        sees_h = sees_c
        if not self.causal_guard:
            given = inside & (place < sizes[:, None])
            sees_h = given[:, None].expand_as(sees_c)
        with torch.autocast(q.device.type, enabled=False):
            mixed = self.attention.attend(
                q,
                keys.unflatten(-1, (2, -1)).flatten(1, 2),
                values.unflatten(-1, (2, -1)).flatten(1, 2),
                torch.stack([sees_h, sees_c], -1).flatten(2),
            )
        return mixed, k, v

    def _tell(
        self,
        y: Float[Tensor, "batch tokens dim"],
        memory: TitansState,
        sizes: Int[Tensor, " batch"],
        *,
        aligned: bool,
    ) -> tuple[Float[Tensor, "batch tokens dim"], TitansState]:
        """M(y), and the memory updated with y."""
        told, after = self.memory.run_rows(y, memory, sizes, aligned=aligned)
        if not self.causal_guard:
            asked, _ = self.memory.queries(y, memory.conv[:, : self.input_dim], sizes)
            told = self.memory.recall(asked, after).to(y.dtype)
        return told, after


def _split(
    tokens: Float[Tensor, "batch time parts"],
    segment_size: int,
    position: Int[Tensor, " batch"],
    sizes: Int[Tensor, " batch"],
    *,
    aligned: bool,
) -> tuple[Sequence[Tensor], Sequence[Tensor], Int[Tensor, "batch time"]]:
    """Tokens segment by segment, where each row stands at a position of its own.

    Returns:
        Tokens [batch, tokens, parts] of one segment of every row, how many of them count [batch],
        and where each step stands in the joined pieces.
    """
    time, lead = tokens.shape[1], position % segment_size
    num_pieces = -(-(time + (0 if aligned else segment_size - 1)) // segment_size)
    width = min(segment_size, time)
    border = segment_size * torch.arange(num_pieces + 1, device=lead.device) - lead[:, None]
    begin = border[:, :-1].clamp(min=0)
    counts = (torch.minimum(border[:, 1:], sizes[:, None]) - begin).clamp(min=0)
    source = begin[..., None] + torch.arange(width, device=lead.device)
    pieces = tokens.gather(1, _like(source.clamp(max=time - 1).flatten(1), tokens))
    step = torch.arange(time, device=lead.device)
    piece = (step + lead[:, None]) // segment_size
    index = piece * width + step - begin.gather(1, piece)
    return pieces.split(width, 1), counts.unbind(1), index


def _like(
    index: Int[Tensor, "batch steps"], other: Float[Tensor, "batch _ width"]
) -> Int[Tensor, "batch steps width"]:
    """An index of steps, for `gather`."""
    return index[..., None].expand(-1, -1, other.shape[-1])
