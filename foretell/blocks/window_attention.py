"""Attention over the last few steps, with learned tokens that every step sees."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foretell.blocks.persistent_attention import PersistentAttention
from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.segments import TIME_BLOCK, forward_rows


class WindowState(NamedTuple):
    """Keys and values of the last window - 1 steps, the oldest first."""

    keys: Float[Tensor, "batch kept width"]
    """0 where there was no step yet."""
    values: Float[Tensor, "batch kept width"]
    """As keys."""
    position: Int[Tensor, " batch"]
    """Steps so far."""


class SlidingWindowAttention(PersistentAttention, SequenceMixer):
    """Softmax attention of step t over steps t - window + 1 .. t and the persistent tokens.

    o_t = W_o sum_j softmax(q_t . k_j / sqrt(head_dim))_j v_j per head. Steps run in blocks of
    `window` that each see one block back: the cost is linear in time.

    Args:
        input_dim: Width of x and y.
        num_heads: Heads, a divisor of input_dim.
        window: Steps that a step sees, itself included.
        num_persistent: Learned tokens before the first step that never leave the window.
    """

    def __init__(
        self, input_dim: int, num_heads: int, *, window: int = 64, num_persistent: int = 0
    ) -> None:
        super().__init__(input_dim, num_heads, num_persistent=num_persistent)
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.input_dim = self.output_dim = input_dim
        self.window = window

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, num_heads={self.num_heads}, window={self.window}, "
            f"num_persistent={len(self.persistent)}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> WindowState:
        """No step yet."""
        place, kind = self._place(device, dtype)
        keys = torch.zeros(batch, self.window - 1, self.input_dim, device=place, dtype=kind)
        position = torch.zeros(batch, dtype=torch.int64, device=place)
        return WindowState(keys, torch.zeros_like(keys), position)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: WindowState
    ) -> tuple[Float[Tensor, "batch output_dim"], WindowState]:
        """One step: softmax over the kept keys and its own."""
        self._check_step(x_t, state)
        x, kind = x_t[:, None], state.keys.dtype
        q, (k, v) = self.project_queries(x, kind), self.project_keys(x, kind)
        with torch.autocast(x_t.device.type, enabled=False):
            keys, values = torch.cat([state.keys, k], 1), torch.cat([state.values, v], 1)
            ages = torch.arange(self.window - 1, -1, -1, device=x_t.device)
            seen = ages <= state.position[:, None]
            mixed = self.attend(q, keys, values, seen[:, None])
        after = WindowState(keys[:, 1:], values[:, 1:], state.position + 1)
        return self.project_output(mixed, x_t.dtype)[:, 0], after

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: WindowState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], WindowState]:
        """All steps; see `SequenceMixer.forward`. Pieces between resets run as rows."""
        return forward_rows(
            self, self._run, x, state, lengths=lengths, reset=reset, block_size=TIME_BLOCK
        )

    def _run(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: WindowState,
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], WindowState]:
        """Rows without resets."""
        batch, time, _ = x.shape
        window, kind = self.window, state.keys.dtype
        q, (k, v) = self.project_queries(x, kind), self.project_keys(x, kind)
        with torch.autocast(x.device.type, enabled=False):
            keys, values = torch.cat([state.keys, k], 1), torch.cat([state.values, v], 1)
            more = -time % window
            # Block b of queries sees its own steps and those of the block before.
            queries = functional.pad(q, (0, 0, 0, more)).unflatten(1, (-1, window))
            keys_seen, values_seen = (
                functional.pad(part, (0, 0, 1, more)).unfold(1, 2 * window, window).mT.flatten(0, 1)
                for part in (keys, values)
            )
            place = torch.arange(time + more + window, device=x.device)
            begun = place >= window - state.position[:, None]
            begun = begun.unfold(1, 2 * window, window)
            age = window + torch.arange(window, device=x.device)[:, None] - place[: 2 * window]
            seen = begun[:, :, None] & (age >= 0) & (age < window)
            mixed = self.attend(queries.flatten(0, 1), keys_seen, values_seen, seen.flatten(0, 1))
        mixed = mixed.unflatten(0, (batch, -1)).flatten(1, 2)[:, :time]
        sizes = torch.full_like(state.position, time) if lengths is None else lengths.to(x.device)
        keys, values = last_steps(keys, sizes, window - 1), last_steps(values, sizes, window - 1)
        y = self.project_output(mixed, x.dtype)
        return y, WindowState(keys, values, state.position + sizes)


def last_steps(
    joined: Float[Tensor, "batch steps width"], sizes: Int[Tensor, " batch"], kept: int
) -> Float[Tensor, "batch kept width"]:
    """The last `kept` of the kept steps before a sequence and of its first `sizes` steps."""
    last = (sizes[:, None] + torch.arange(kept, device=joined.device))[..., None]
    return joined.gather(1, last.expand(-1, -1, joined.shape[-1]))


def window_attention_naive(
    block: SlidingWindowAttention, x: Float[Tensor, "batch time input_dim"], state: WindowState
) -> tuple[Float[Tensor, "batch time output_dim"], WindowState]:
    """Loop oracle of `SlidingWindowAttention`: a list of keys, one head at a time.

    Args:
        block: Its parameters.
        x: Inputs; at least one step.
        state: Where to start; all rows at the same position.

    Returns:
        y of every step, and the state after the last one.
    """
    held, position = min(int(state.position[0]), block.window - 1), state.position
    keys, values = list(state.keys.unbind(1)), list(state.values.unbind(1))
    width = block.input_dim // block.num_heads
    always = [
        [layer(token).expand(len(x), -1) for token in block.persistent]
        for layer in (block.key, block.value)
    ]
    out = []
    for x_t in x.unbind(1):
        q = block.query(x_t)
        keys.append(block.key(x_t))
        values.append(block.value(x_t))
        held = min(held + 1, block.window)
        k = torch.stack(always[0] + keys[-held:], 1)
        v = torch.stack(always[1] + values[-held:], 1)
        heads = []
        for head in range(block.num_heads):
            own = slice(head * width, (head + 1) * width)
            share = torch.softmax((k[..., own] * q[:, None, own]).sum(-1) / width**0.5, 1)
            heads.append((share[..., None] * v[..., own]).sum(1))
        out.append(block.output(torch.cat(heads, -1)))
        keys, values, position = keys[1:], values[1:], position + 1
    if keys:
        state = WindowState(torch.stack(keys, 1), torch.stack(values, 1), position)
    return torch.stack(out, 1), state._replace(position=position)
