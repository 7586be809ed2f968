"""Titans' neural memory as a layer: projections, gates and a learned start of the memory."""

from functools import partial
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.causal_conv import causal_conv
from foretell.blocks.checks import check_positive
from foretell.blocks.segments import TIME_BLOCK, forward_rows
from foretell.blocks.state_maps import LinearStateMixer
from foretell.blocks.titans_memory import (
    Layers,
    MemoryCarry,
    apply_memory,
    chunk_start,
    titans_memory,
    titans_memory_step,
)

START_ALPHA, START_ETA = 0.01, 0.5
"""Forgetting and momentum at the start. theta starts at (1 - eta) / (2 chunk_size): the gradients
of a chunk are all taken before its first token, so that many of one key add up."""
NORM_EPS = 1e-6
"""Least norm that q and k are divided by."""


class TitansState(NamedTuple):
    """Memory of a row; the layers' matrices one after the other, each row by row."""

    weights: Float[Tensor, "batch size"]
    """M."""
    momentum: Float[Tensor, "batch size"]
    """S."""
    chunk_start: Float[Tensor, "batch size_or_0"]
    """M before the first token of the current chunk; of width 0 if chunk_size is 1."""
    position: Int[Tensor, " batch"]
    """Tokens so far."""
    conv: Float[Tensor, "batch channels taps"]
    """Inputs of q, k and v that the convolution still reads."""


class TitansMemory(LinearStateMixer):
    """Neural memory of Titans (2501.00663, section 3): an MLP trained at test time.

    k, v, q = x W_K, x W_V, x W_Q, each through a causal depthwise convolution and SiLU, q and k of
    norm 1; alpha, eta, theta = sigma(linear(x)); then `titans_memory` from a learned M_0.

    Deviations: where the paper writes t' = t - mod(t, b), tokens count from 0, so that token b
    is the first of its chunk. The start of the gates is ours.

    Args:
        input_dim: Width of x.
        memory_dim: Width of q, k and v; none = input_dim.
        output_dim: Width of y through a linear map; none = y_t = M_t(q_t) itself.
        depth: Layers of the memory; 1 = a matrix.
        hidden_dim: Width between the memory's layers; none = memory_dim.
        chunk_size: Tokens whose gradients are taken at one M; part of the model.
        conv_width: Taps of the convolution; none = no convolution.
        silu: Apply SiLU to q, k and v.
        normalise: Divide q and k by their Euclidean norms.
        zero_start: M_0 starts from 0 (it is learned all the same); at depth 1 alone, since an MLP
            of zeros has no gradient.
        seed_dim: Width of the vector that `seed_state` takes; none = no such map.
        readout_dim: Width of what `readout` gives; none = no such map.
    """

    mapped_fields: ClassVar = ("weights", "momentum")

    def __init__(
        self,
        input_dim: int,
        memory_dim: int | None = None,
        *,
        output_dim: int | None = None,
        depth: int = 1,
        hidden_dim: int | None = None,
        chunk_size: int = 16,
        conv_width: int | None = 4,
        silu: bool = True,
        normalise: bool = True,
        zero_start: bool = False,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__()
        memory_dim = input_dim if memory_dim is None else memory_dim
        hidden_dim = memory_dim if hidden_dim is None else hidden_dim
        check_positive(
            input_dim=input_dim, memory_dim=memory_dim, output_dim=output_dim,
            hidden_dim=hidden_dim, depth=depth, chunk_size=chunk_size, conv_width=conv_width,
            seed_dim=seed_dim, readout_dim=readout_dim,
        )  # fmt: skip
        if zero_start and depth > 1:
            raise ValueError(f"zero_start needs depth 1, got {depth}: an MLP of zeros never learns")
        self.input_dim, self.memory_dim, self.hidden_dim = input_dim, memory_dim, hidden_dim
        self.output_dim = memory_dim if output_dim is None else output_dim
        self.depth, self.chunk_size, self.conv_width = depth, chunk_size, conv_width
        self.silu, self.normalise, self.zero_start = silu, normalise, zero_start
        self.chunk_invariant = chunk_size == 1
        self.project = nn.Linear(input_dim, 3 * memory_dim, bias=False)
        self.gates = nn.Linear(input_dim, 3)
        widths = [memory_dim, *[hidden_dim] * (depth - 1), memory_dim]
        self.start = nn.ParameterList(
            torch.empty(out, into) for into, out in zip(widths[:-1], widths[1:], strict=True)
        )
        self.conv_weight = self.conv_bias = None
        if conv_width is not None:
            self.conv_weight = nn.Parameter(torch.empty(3 * memory_dim, conv_width))
            self.conv_bias = nn.Parameter(torch.empty(3 * memory_dim))
        self.output = None if output_dim is None else nn.Linear(memory_dim, output_dim, bias=False)
        self._make_maps(seed_dim, readout_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's for the linear maps and the convolution; M_0 Glorot uniform or 0."""
        self.project.reset_parameters()
        self.gates.reset_parameters()
        theta = (1 - START_ETA) / (2 * self.chunk_size)
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([START_ALPHA, START_ETA, theta]).logit())
        for weight in self.start:
            nn.init.xavier_uniform_(weight)
            if self.zero_start:
                nn.init.zeros_(weight)
        if self.conv_weight is not None and self.conv_bias is not None:
            bound = self.conv_weight.shape[1] ** -0.5
            nn.init.uniform_(self.conv_weight, -bound, bound)
            nn.init.uniform_(self.conv_bias, -bound, bound)
        if self.output is not None:
            self.output.reset_parameters()
        self._reset_maps()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"memory_dim={self.memory_dim}, depth={self.depth}, hidden_dim={self.hidden_dim}, "
            f"chunk_size={self.chunk_size}, conv_width={self.conv_width}, silu={self.silu}, "
            f"normalise={self.normalise}, zero_start={self.zero_start}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> TitansState:
        """M = M_0, no momentum, position 0."""
        place, kind = self._place(device, dtype)
        start = torch.cat([weight.flatten() for weight in self.start]).to(place, kind)
        weights = start.expand(batch, -1)
        position = torch.zeros(batch, dtype=torch.int64, device=place)
        taps = 0 if self.conv_width is None else self.conv_width - 1
        conv = weights.new_zeros(batch, 3 * self.memory_dim, taps)
        held = weights.clone() if self.chunk_size > 1 else weights.new_zeros(batch, 0)
        return TitansState(weights, torch.zeros_like(weights), held, position, conv)

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> TitansState:
        """M and S that a learned map makes of a vector, at position 0.

        Raises:
            ValueError: The block was made without `seed_dim`, or h has another width.
        """
        state: TitansState = super().seed_state(h)
        held = state.weights.clone() if self.chunk_size > 1 else state.chunk_start
        return state._replace(chunk_start=held)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: TitansState
    ) -> tuple[Float[Tensor, "batch output_dim"], TitansState]:
        """One token, by the update rule."""
        self._check_step(x_t, state)
        inputs, gates = self._project(x_t, state)
        with torch.autocast(x_t.device.type, enabled=False):
            conv = state.conv
            if self.conv_weight is not None and self.conv_bias is not None:
                taps = torch.cat([conv, inputs[..., None]], -1)
                inputs = (taps * self.conv_weight.to(taps)).sum(-1) + self.conv_bias.to(taps)
                conv = taps[..., 1:]
            q, k, v = self._activate(inputs)
            carry = self._unpack(state)
            y, carry = titans_memory_step(q, k, v, gates, carry, chunk_size=self.chunk_size)
        return self._leave(y, x_t), self._pack(carry, conv)

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: TitansState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], TitansState]:
        """All steps; see `SequenceMixer.forward`. Pieces between resets run as rows of their own:
        chunks begin anew at a reset."""
        run = partial(self.run_rows, aligned=state is None)
        block = self.chunk_size * max(1, TIME_BLOCK // self.chunk_size)  # stays aligned
        return forward_rows(self, run, x, state, lengths=lengths, reset=reset, block_size=block)

    def run_rows(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: TitansState,
        lengths: Int[Tensor, " batch"] | None,
        *,
        aligned: bool,
    ) -> tuple[Float[Tensor, "batch time output_dim"], TitansState]:
        """`forward` of rows without resets, of at least one step.

        Args:
            x: Finite beyond the lengths, too.
            state: Where the rows stand.
            lengths: Valid steps of each row.
            aligned: Rows that have steps stand at multiples of chunk_size: one chunk less.

        Returns:
            y, of no meaning beyond the lengths, and the state after the last valid step.
        """
        inputs, gates = self._project(x, state)
        with torch.autocast(x.device.type, enabled=False):
            conv = state.conv
            if self.conv_weight is not None:
                sizes = None if lengths is None else lengths.to(x.device)
                inputs, conv = causal_conv(
                    inputs, conv, self.conv_weight, self.conv_bias, lengths=sizes
                )
            y, carry = titans_memory(
                *self._activate(inputs), gates, self._unpack(state),
                chunk_size=self.chunk_size, lengths=lengths, aligned=aligned,
            )  # fmt: skip
        return self._leave(y, x), self._pack(carry, conv)

    def queries(
        self,
        x: Float[Tensor, "batch time input_dim"],
        taps: Float[Tensor, "batch memory_dim taps"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch time memory_dim"], Float[Tensor, "batch memory_dim taps"]]:
        """q(x) for a reader that writes nothing.

        Args:
            x: What to ask about.
            taps: W_Q x of the conv_width - 1 steps before, oldest first.
            lengths: Valid steps of each row.

        Returns:
            q in the type of the taps, and the taps after the last valid step.
        """
        x, width = x.to(self.project.weight.dtype), self.memory_dim
        q = functional.linear(x, self.project.weight[:width]).to(taps.dtype)
        with torch.autocast(x.device.type, enabled=False):
            if self.conv_weight is not None and self.conv_bias is not None:
                q, taps = causal_conv(
                    q, taps, self.conv_weight[:width], self.conv_bias[:width], lengths=lengths
                )
            return self._normalise(functional.silu(q) if self.silu else q), taps

    def recall(
        self,
        q: Float[Tensor, "batch time memory_dim"],
        state: TitansState,
        *,
        at_chunk_start: bool = False,
    ) -> Float[Tensor, "batch time memory_dim"]:
        """M(q) of a memory that stands still: as it is, or as it was before the current chunk."""
        carry = self._unpack(state)
        weights = chunk_start(carry, self.chunk_size) if at_chunk_start else carry.weights
        with torch.autocast(q.device.type, enabled=False):
            return apply_memory(weights, q)

    def _project(self, x: Tensor, state: TitansState) -> tuple[Tensor, Tensor]:
        """q, k and v side by side and the gates' logits, in the type of the state."""
        x = x.to(self.project.weight.dtype)
        return self.project(x).to(state.weights.dtype), self.gates(x).to(state.weights.dtype)

    def _activate(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v as the memory takes them."""
        inputs = functional.silu(inputs) if self.silu else inputs
        q, k, v = inputs.split(self.memory_dim, -1)
        return self._normalise(q), self._normalise(k), v

    def _normalise(self, z: Tensor) -> Tensor:
        return functional.normalize(z, dim=-1, eps=NORM_EPS) if self.normalise else z

    def _leave(self, y: Tensor, x: Tensor) -> Tensor:
        projected = y if self.output is None else self.output(y.to(self.output.weight.dtype))
        return projected.to(x.dtype)

    def _unpack(self, state: TitansState) -> MemoryCarry:
        weights = self._layers(state.weights)
        start = self._layers(state.chunk_start) if self.chunk_size > 1 else weights
        return MemoryCarry(weights, self._layers(state.momentum), start, state.position)

    def _pack(self, carry: MemoryCarry, conv: Tensor) -> TitansState:
        weights, momentum, start = (
            torch.cat([part.flatten(1) for part in layers], 1) for layers in carry[:3]
        )
        held = start if self.chunk_size > 1 else weights[:, :0]
        return TitansState(weights, momentum, held, carry.position, conv)

    def _layers(self, flat: Float[Tensor, "batch size"]) -> Layers:
        parts = flat.split([weight.numel() for weight in self.start], 1)
        return tuple(
            part.unflatten(1, weight.shape) for part, weight in zip(parts, self.start, strict=True)
        )
