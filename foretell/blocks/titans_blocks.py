"""Titans with its neural memory beside attention (MAG) and below it (MAL)."""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree

from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.rms_norm import rms_norm
from foretell.blocks.segments import TIME_BLOCK, forward_rows
from foretell.blocks.titans import TitansMemory, TitansState
from foretell.blocks.window_attention import SlidingWindowAttention, WindowState

NORM_EPS = 1e-5
"""Added to the mean squares of MAG."""


class MemoryAttentionState(NamedTuple):
    """Of both parts; the persistent tokens have already passed."""

    memory: TitansState
    attention: WindowState


class _MemoryAttention(SequenceMixer):
    """A memory and a sliding window over one sequence [P ; x] that begins with learned tokens P.

    P runs in `init_state`, so that a sequence may be cut anywhere, and gradient reaches P.

    Args:
        input_dim: Width of x and y.
        num_heads: Heads of the attention.
        window: Steps that attention sees, the present one included.
        num_persistent: Tokens of P.
        depth: As in `TitansMemory`.
        hidden_dim: As in `TitansMemory`.
        chunk_size: As in `TitansMemory`; chunks count from the first token of P.
        conv_width: As in `TitansMemory`.
        silu: As in `TitansMemory`.
        normalise: As in `TitansMemory`.
        seed_dim: As in `TitansMemory`.
        readout_dim: As in `TitansMemory`.
    """

    persistent_stays: ClassVar[bool]
    """P never leaves the window."""

    def __init__(
        self,
        input_dim: int,
        num_heads: int,
        *,
        window: int = 64,
        num_persistent: int = 4,
        depth: int = 2,
        hidden_dim: int | None = None,
        chunk_size: int = 16,
        conv_width: int | None = 4,
        silu: bool = True,
        normalise: bool = True,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__()
        if num_persistent < 0:
            raise ValueError(f"num_persistent must be at least 0, got {num_persistent}")
        self.input_dim = self.output_dim = input_dim
        self.memory = TitansMemory(
            input_dim, depth=depth, hidden_dim=hidden_dim, chunk_size=chunk_size,
            conv_width=conv_width, silu=silu, normalise=normalise, seed_dim=seed_dim,
            readout_dim=readout_dim,
        )  # fmt: skip
        self.chunk_invariant, self.seed_dim = self.memory.chunk_invariant, self.memory.seed_dim
        self.attention = SlidingWindowAttention(
            input_dim, num_heads, window=window,
            num_persistent=num_persistent if self.persistent_stays else 0,
        )  # fmt: skip
        self._build(num_persistent)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"input_dim={self.input_dim}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> MemoryAttentionState:
        """After P."""
        place, kind = self._place(device, dtype)
        empty = MemoryAttentionState(
            self.memory.init_state(1, dtype=kind), self.attention.init_state(1, dtype=kind)
        )
        after = self._absorb(empty)
        state: MemoryAttentionState = _pytree.tree_map(
            lambda t: t.to(place).expand(batch, *t.shape[1:]), after
        )
        return state

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> MemoryAttentionState:
        """After P, which the memory that a learned map makes of a vector has read.

        Raises:
            ValueError: The block was made without `seed_dim`, or h has another width.
        """
        attention = self.attention.init_state(len(h), h.device)
        return self._absorb(MemoryAttentionState(self.memory.seed_state(h), attention))

    def readout(self, state: MemoryAttentionState) -> Float[Tensor, "batch readout_dim"]:
        """A learned summary of the memory.

        Raises:
            ValueError: The block was made without `readout_dim`.
        """
        return self.memory.readout(state.memory)

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryAttentionState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
        """All steps; see `SequenceMixer.forward`. Pieces between resets run as rows."""
        return forward_rows(
            self, self._run, x, state, lengths=lengths, reset=reset, block_size=TIME_BLOCK
        )

    def _build(self, num_persistent: int) -> None:
        """Parameters of its own."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Of both parts."""
        self.memory.reset_parameters()
        self.attention.reset_parameters()

    def _absorb(self, state: MemoryAttentionState) -> MemoryAttentionState:
        """Run P."""
        raise NotImplementedError

    def _run(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryAttentionState,
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
        """Rows without resets."""
        raise NotImplementedError


class MemoryAsGate(_MemoryAttention):
    """MAG (2501.00663): o = norm(y) (x) sigma(norm(M([P ; x]))), y = window attention of [P ; x].

    Both norms are root-mean-square norms with a learned scale. P never leaves the window (the
    paper's attention "with prefix"). See `_MemoryAttention` for the arguments.
    """

    persistent_stays = True

    def _build(self, num_persistent: int) -> None:
        self.attention_scale = nn.Parameter(torch.empty(self.input_dim))
        self.memory_scale = nn.Parameter(torch.empty(self.input_dim))

    def reset_parameters(self) -> None:
        """Of both parts; scales 1."""
        super().reset_parameters()
        nn.init.ones_(self.attention_scale)
        nn.init.ones_(self.memory_scale)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: MemoryAttentionState
    ) -> tuple[Float[Tensor, "batch output_dim"], MemoryAttentionState]:
        """One step of both."""
        self._check_step(x_t, state)
        y, attention = self.attention.step(x_t, state.attention)
        told, memory = self.memory.step(x_t, state.memory)
        return self._gate(y, told), MemoryAttentionState(memory, attention)

    def _absorb(self, state: MemoryAttentionState) -> MemoryAttentionState:
        rows = len(state.memory.position)
        _, memory = self.memory(self.attention.persistent.expand(rows, -1, -1), state.memory)
        return state._replace(memory=memory)

    def _run(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryAttentionState,
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
        y, attention = self.attention(x, state.attention, lengths=lengths)
        told, memory = self.memory(x, state.memory, lengths=lengths)
        return self._gate(y, told), MemoryAttentionState(memory, attention)

    def _gate(
        self, y: Float[Tensor, "*steps dim"], told: Float[Tensor, "*steps dim"]
    ) -> Float[Tensor, "*steps dim"]:
        kind = torch.promote_types(y.dtype, torch.float32)
        with torch.autocast(y.device.type, enabled=False):
            gate = rms_norm(told.to(kind), NORM_EPS) * self.memory_scale.to(kind)
            value = rms_norm(y.to(kind), NORM_EPS) * self.attention_scale.to(kind)
            return (value * gate.sigmoid()).to(y.dtype)


class MemoryAsLayer(_MemoryAttention):
    """MAL (2501.00663): y = M([P ; x]), o = window attention of y.

    What the memory answers to P stands in the window like any other step, and leaves it. See
    `_MemoryAttention` for the arguments.
    """

    persistent_stays = False

    def _build(self, num_persistent: int) -> None:
        self.persistent = nn.Parameter(torch.empty(num_persistent, self.input_dim))

    def reset_parameters(self) -> None:
        """Of both parts; persistent tokens from N(0, 1)."""
        super().reset_parameters()
        nn.init.normal_(self.persistent)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: MemoryAttentionState
    ) -> tuple[Float[Tensor, "batch output_dim"], MemoryAttentionState]:
        """One step of the memory, then of the attention."""
        self._check_step(x_t, state)
        told, memory = self.memory.step(x_t, state.memory)
        y, attention = self.attention.step(told, state.attention)
        return y, MemoryAttentionState(memory, attention)

    def _absorb(self, state: MemoryAttentionState) -> MemoryAttentionState:
        rows = len(state.memory.position)
        return self._run(self.persistent.expand(rows, -1, -1), state, None)[1]

    def _run(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: MemoryAttentionState,
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
        told, memory = self.memory(x, state.memory, lengths=lengths)
        y, attention = self.attention(told, state.attention, lengths=lengths)
        return y, MemoryAttentionState(memory, attention)
