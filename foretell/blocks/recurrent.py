"""RNN, GRU and LSTM under the protocol: torch's kernels, ragged rows without packing, resets.

Rows of unequal length are sorted and time is cut at the distinct lengths, because packed input
leaves torch's fast CPU path. A comparison of the gates: 1506.00019.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foretell.blocks.cells import NUM_GATES, Kind, LayerWeights, gru_cell, lstm_cell, rnn_cell
from foretell.blocks.checks import check_dropout, check_positive
from foretell.blocks.protocol import (
    SequenceMixer,
    active_steps,
    check_input,
    mask_steps,
    where_rows,
)
from foretell.blocks.segments import run_segments


class RecurrentState(NamedTuple):
    """State of an RNN or GRU."""

    h: Float[Tensor, "batch layers hidden"]
    """Of every layer, the directions of a layer one after the other."""


class LstmState(NamedTuple):
    """State of an LSTM."""

    h: Float[Tensor, "batch layers hidden"]
    """Output state."""
    c: Float[Tensor, "batch layers hidden"]
    """Cell state."""


class Recurrent(SequenceMixer):
    """Stacked gated recurrence (see `foretell.blocks.cells` for the equations).

    Parameters carry torch's names (weight_ih_l0, ...) in `core`, so state dicts of nn.RNN, nn.GRU
    and nn.LSTM load. Initialised from U(-1/sqrt(hidden), 1/sqrt(hidden)) as torch does.

    Args:
        input_dim: Width of x.
        hidden_dim: Width of the state of a layer and direction.
        num_layers: Layers.
        bidirectional: A second recurrence from the end, concatenated; not causal.
        dropout: Between layers.
        recurrent_dropout: Of the state that the gates see, one mask for all steps of a call
            (1512.05287, as Keras); needs a loop over time, slower.
        orthogonal_recurrent: Orthogonal hidden-to-hidden matrices, gate by gate.
        single_bias: Keep the hidden bias at zero, as Keras.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        orthogonal_recurrent: bool = False,
        single_bias: bool = False,
    ) -> None:
        super().__init__()
        check_positive(input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers)
        check_dropout(dropout=dropout, recurrent_dropout=recurrent_dropout)
        if bidirectional and recurrent_dropout:
            raise ValueError("recurrent_dropout is for one direction; set bidirectional false")
        self.input_dim, self.hidden_dim, self.num_layers = input_dim, hidden_dim, num_layers
        self.num_directions = directions = 2 if bidirectional else 1
        self.output_dim, self.seed_dim = (directions * hidden_dim * n for n in (1, num_layers))
        self.causal = self.streamable = not bidirectional
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.orthogonal_recurrent, self.single_bias = orthogonal_recurrent, single_bias
        self.core = nn.Module()
        rows = NUM_GATES[self.kind] * hidden_dim
        for name, layer, _ in self._places():
            inputs = hidden_dim * self.num_directions if layer else input_dim
            self.core.register_parameter(
                f"weight_ih_{name}", nn.Parameter(torch.empty(rows, inputs))
            )
            self.core.register_parameter(
                f"weight_hh_{name}", nn.Parameter(torch.empty(rows, hidden_dim))
            )
            self.core.register_parameter(f"bias_ih_{name}", nn.Parameter(torch.empty(rows)))
            if single_bias:
                self.core.register_buffer(f"bias_hh_{name}", torch.zeros(rows), persistent=False)
            else:
                self.core.register_parameter(f"bias_hh_{name}", nn.Parameter(torch.empty(rows)))
        self.reset_parameters()

    def _places(self) -> list[tuple[str, int, int]]:
        """Suffix of the parameters' names, layer and direction."""
        return [
            (f"l{layer}{'_reverse' if direction else ''}", layer, direction)
            for layer in range(self.num_layers)
            for direction in range(self.num_directions)
        ]

    def reset_parameters(self) -> None:
        """U(-1/sqrt(hidden), 1/sqrt(hidden)), and the options."""
        bound = self.hidden_dim**-0.5
        for name, parameter in self.core.named_parameters():
            if self.orthogonal_recurrent and name.startswith("weight_hh"):
                for gate in parameter.chunk(NUM_GATES[self.kind]):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.uniform_(parameter, -bound, bound)
        for buffer in self.core.buffers(recurse=False):  # hidden biases that stay 0
            nn.init.zeros_(buffer)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, hidden_dim={self.hidden_dim}, "
            f"num_layers={self.num_layers}, bidirectional={self.num_directions == 2}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """Zeros."""
        place, kind = self._place(device, dtype)
        shape = (batch, self.num_layers * self.num_directions, self.hidden_dim)
        h = torch.zeros(shape, device=place, dtype=kind)
        return LstmState(h, torch.zeros_like(h)) if self.kind == "lstm" else RecurrentState(h)

    def seed_state(self, h: Float[Tensor, "batch layers_hidden"]) -> Any:
        """Start from a vector that fills all layers; the cell state of an LSTM is zero."""
        state = self.init_state(len(h), h.device)
        if h.shape[1] != state.h[0].numel():
            raise ValueError(f"seed must have width {state.h[0].numel()}, got {h.shape[1]}")
        return state._replace(h=h.to(state.h).view_as(state.h))

    def readout(self, state: Any) -> Float[Tensor, "batch output_dim"]:
        """State of the top layer, both directions."""
        top: Tensor = state.h[:, -self.num_directions :].flatten(1)
        return top

    def step(self, x_t: Float[Tensor, "batch input_dim"], state: Any) -> tuple[Tensor, Any]:
        """One step of all layers."""
        if not self.streamable:
            raise NotImplementedError("a bidirectional recurrence needs the whole sequence")
        self._check_step(x_t, state)
        dtype = state.h.dtype
        with torch.autocast(x_t.device.type, enabled=False):
            value, rows = x_t.to(dtype), []
            for layer in range(self.num_layers):
                before = tuple(field[:, layer] for field in state)
                rows.append(self._cell(value, before, self._weights(layer, 0, dtype)))
                value = rows[-1][0]
        after = type(state)(*(torch.stack(fields, 1) for fields in zip(*rows, strict=True)))
        return value.to(x_t.dtype), after

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], Any]:
        """All steps; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        dtype = state.h.dtype
        with torch.autocast(x.device.type, enabled=False):
            values = mask_steps(x, active).to(dtype)
            if reset is None:
                y, state = self._ragged(values, state, lengths)
            else:
                fresh = self.init_state(len(x), x.device, dtype)
                y, state = run_segments(
                    self._ragged, values, state, fresh, lengths=lengths, reset=reset
                )
        return mask_steps(y.to(x.dtype), active), state

    def _ragged(self, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Rows of any lengths, without resets."""
        if not x.shape[1]:
            return x.new_zeros(len(x), 0, self.output_dim), state
        if self.training and self.recurrent_dropout:
            return self._loop(x, state, lengths)
        if lengths is None or bool((lengths == x.shape[1]).all()):
            return self._kernel(x, state, range(self.num_layers))
        order = lengths.argsort(descending=True, stable=True)
        back = order.argsort()
        sorted_state = type(state)(*(field[order] for field in state))
        y, end = self._descending(x[order], sorted_state, lengths[order].tolist())
        return y[back], type(state)(*(field[back] for field in end))

    def _descending(self, x: Tensor, state: Any, lengths: list[int]) -> tuple[Tensor, Any]:
        """Rows in order of falling length, layer by layer where both directions run."""
        if self.num_directions == 1:
            return self._pieces(x, state, lengths, range(self.num_layers), 0)
        sizes = torch.tensor(lengths, device=x.device)
        ends = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(2):
                place = 2 * layer + direction
                own = type(state)(*(field[:, place : place + 1] for field in state))
                seen = reverse_rows(x, sizes) if direction else x
                y, end = self._pieces(seen, own, lengths, range(layer, layer + 1), direction)
                outputs.append(reverse_rows(y, sizes) if direction else y)
                ends.append(end)
            x = torch.cat(outputs, dim=-1)
            if layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout, self.training)
        return x, type(state)(*(torch.cat(fields, dim=1) for fields in zip(*ends, strict=True)))

    def _pieces(
        self, x: Tensor, state: Any, lengths: list[int], layers: range, direction: int
    ) -> tuple[Tensor, Any]:
        """Cut time at the distinct lengths; each piece runs the rows that are still active."""
        time, stops = x.shape[1], sorted(set(lengths) - {0})
        if len(stops) > max(1, time // 4):
            return self._packed(x, state, lengths, layers, direction)
        outputs, start = [], 0
        for stop in stops:
            rows = sum(length >= stop for length in lengths)
            running = type(state)(*(field[:rows] for field in state))
            y, end = self._kernel(x[:rows, start:stop], running, layers, direction)
            outputs.append(functional.pad(y, (0, 0, 0, 0, 0, len(x) - rows)))
            state = type(state)(
                *(torch.cat([a, b[rows:]]) for a, b in zip(end, state, strict=True))
            )
            start = stop
        outputs.append(x.new_zeros(len(x), time - start, self.hidden_dim))
        return torch.cat(outputs, dim=1), state

    def _packed(
        self, x: Tensor, state: Any, lengths: list[int], layers: range, direction: int
    ) -> tuple[Tensor, Any]:
        """The same through a packed sequence, for very many distinct lengths."""
        rows = sum(length > 0 for length in lengths)
        running = type(state)(*(field[:rows] for field in state))
        packed = pack_padded_sequence(x[:rows], torch.tensor(lengths[:rows]), batch_first=True)
        y, end = self._kernel(packed.data, running, layers, direction, packed.batch_sizes)
        filled, _ = pad_packed_sequence(packed._replace(data=y), True, total_length=x.shape[1])
        state = type(state)(*(torch.cat([a, b[rows:]]) for a, b in zip(end, state, strict=True)))
        return functional.pad(filled, (0, 0, 0, 0, 0, len(x) - rows)), state

    def _kernel(
        self,
        x: Tensor,
        state: Any,
        layers: range,
        direction: int | None = None,
        batch_sizes: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """torch's kernel over some layers; `direction` none = all directions of the block."""
        directions = range(self.num_directions) if direction is None else [direction]
        flat = [w for n in layers for d in directions for w in self._weights(n, d, x.dtype)]
        carried = [field.transpose(0, 1).contiguous() for field in state]
        dropout = self.dropout if len(layers) > 1 else 0.0
        sizes = (True, len(layers), dropout, self.training, len(directions) == 2)
        hidden: Any = carried if self.kind == "lstm" else carried[0]
        op = getattr(torch, self.kind)
        if batch_sizes is None:
            y, *end = op(x, hidden, flat, *sizes, True)
        else:
            y, *end = op(x, batch_sizes, hidden, flat, *sizes)
        return y, type(state)(*(field.transpose(0, 1) for field in end))

    def _loop(self, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """A step at a time with one mask of the state for all steps; training only."""
        return recurrent_naive(self, x, state, lengths, masks=self._masks(x))

    def _masks(self, x: Tensor) -> list[Tensor]:
        ones = x.new_ones(len(x), self.hidden_dim)
        return [functional.dropout(ones, self.recurrent_dropout) for _ in range(self.num_layers)]

    def _weights(self, layer: int, direction: int, dtype: torch.dtype) -> LayerWeights:
        suffix = f"l{layer}{'_reverse' if direction else ''}"
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return LayerWeights(*(getattr(self.core, f"{name}_{suffix}").to(dtype) for name in names))

    def _cell(
        self,
        x: Tensor,
        before: Sequence[Tensor],
        weights: LayerWeights,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """One layer's step: the fields of its state, h first."""
        h = before[0]
        seen = h if mask is None else h * mask
        match self.kind:
            case "lstm":
                return lstm_cell(x, seen, before[1], weights)
            case "gru":
                return (gru_cell(x, h, weights, recurrent=seen),)
            case _:
                return (rnn_cell(x, seen, weights, relu=self.kind == "rnn_relu"),)


class RNN(Recurrent):
    """h' = tanh(W x + b + U h + c)."""

    kind = "rnn_tanh"


class ReluRNN(Recurrent):
    """h' = ReLU(W x + b + U h + c)."""

    kind = "rnn_relu"


class GRU(Recurrent):
    """Gated recurrent unit in torch's convention (reset after the hidden product)."""

    kind = "gru"


class LSTM(Recurrent):
    """Long short-term memory.

    Args:
        forget_bias: Added to the input bias of the forget gate at initialisation (Keras: 1).
    """

    kind = "lstm"

    def __init__(
        self, input_dim: int, hidden_dim: int, *, forget_bias: float = 0.0, **options: Any
    ) -> None:
        if not math.isfinite(forget_bias):
            raise ValueError(f"forget_bias must be finite, got {forget_bias}")
        self.forget_bias = forget_bias
        super().__init__(input_dim, hidden_dim, **options)

    def reset_parameters(self) -> None:
        """As `Recurrent`, and the forget gate's bias."""
        super().reset_parameters()
        with torch.no_grad():
            for name, _, _ in self._places():
                bias = getattr(self.core, f"bias_ih_{name}")
                bias[self.hidden_dim : 2 * self.hidden_dim] += self.forget_bias


def reverse_rows(
    x: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time dim"]:
    """Turn the valid part of every row round; the padding stays where it is."""
    steps = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    turned = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, turned[..., None].expand_as(x))


def recurrent_naive(
    block: Recurrent,
    x: Float[Tensor, "batch time input_dim"],
    state: Any,
    lengths: Int[Tensor, " batch"] | None = None,
    *,
    masks: Sequence[Float[Tensor, "batch hidden"]] | None = None,
) -> tuple[Float[Tensor, "batch time hidden"], Any]:
    """One direction, layer after layer, a loop over time.

    Args:
        block: Gives kind and weights.
        x: Inputs.
        state: Where to start.
        lengths: Valid steps of each row; none = all.
        masks: What of the state each layer's gates see, at every step.
    """
    active = active_steps(x.shape[1], lengths=lengths, like=x)
    ends = []
    for layer in range(block.num_layers):
        weights = block._weights(layer, 0, x.dtype)
        mask = None if masks is None else masks[layer]
        own, outputs = tuple(field[:, layer] for field in state), []
        for t, x_t in enumerate(x.unbind(1)):
            after = block._cell(x_t, own, weights, mask)
            own = after if active is None else where_rows(active[:, t], after, own)
            outputs.append(own[0])
        x = torch.stack(outputs, dim=1) if outputs else x.new_zeros(len(x), 0, block.hidden_dim)
        ends.append(own)
        if layer < block.num_layers - 1:
            x = functional.dropout(x, block.dropout, block.training)
    return x, type(state)(*(torch.stack(fields, 1) for fields in zip(*ends, strict=True)))
