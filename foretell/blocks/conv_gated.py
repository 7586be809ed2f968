"""ConvGRU and ConvLSTM on maps and volumes.

x is a map or volume per step, [batch, time, input_dim, *spatial], or one vector per step that is
repeated over the space, [batch, time, input_dim]. The input's convolutions of all steps run as one;
only the hidden part loops. Convolutions follow autocast, gates and state stay at least float32.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.broadcast_conv import conv3d_of_repeated
from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.conv3d import conv3d
from foretell.blocks.loop import loop_steps
from foretell.blocks.protocol import (
    SequenceMixer,
    Shapes,
    check_real,
    mask_steps,
    state_dtype,
)

SpatialDims = Literal[2, 3]


class ConvGruState(NamedTuple):
    """State of a ConvGRU."""

    h: Float[Tensor, "batch channels *spatial"]


class ConvLstmState(NamedTuple):
    """State of a ConvLSTM."""

    h: Float[Tensor, "batch channels *spatial"]
    """Output state."""
    c: Float[Tensor, "batch channels *spatial"]
    """Cell state."""


class ConvGated(SequenceMixer):
    """A gated recurrence whose matrices are convolutions.

    Args:
        channels: Channels of the state and of y.
        input_dim: Channels of x.
        kernel_size: Odd edge of the kernels.
        spatial_dims: 2 = maps, 3 = volumes.
    """

    def __init__(
        self,
        channels: int,
        input_dim: int,
        *,
        kernel_size: int = 3,
        spatial_dims: SpatialDims = 3,
    ) -> None:
        super().__init__()
        check_choice("spatial_dims", spatial_dims, SpatialDims)
        check_positive(channels=channels, input_dim=input_dim, kernel_size=kernel_size)
        if kernel_size % 2 != 1:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.channels = self.output_dim = channels
        self.input_dim = input_dim
        self.kernel_size, self.spatial_dims = kernel_size, spatial_dims

    def _convolution(self, inputs: int, outputs: int) -> nn.Conv2d | nn.Conv3d:
        if self.spatial_dims == 2:
            return nn.Conv2d(inputs, outputs, self.kernel_size)
        return nn.Conv3d(inputs, outputs, self.kernel_size)

    def reset_parameters(self) -> None:
        """PyTorch's defaults for convolutions."""
        for module in self.children():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                module.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"channels={self.channels}, input_dim={self.input_dim}, "
            f"kernel_size={self.kernel_size}, spatial_dims={self.spatial_dims}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        spatial: tuple[int, ...] = (),
    ) -> Any:
        """Zeros over a space of the given size.

        Raises:
            ValueError: The size does not have `spatial_dims` axes.
        """
        if len(spatial) != self.spatial_dims:
            raise ValueError(
                f"spatial must name {self.spatial_dims} sizes, got {spatial}: with one vector per "
                "step start from seed_state"
            )
        place, kind = self._place(device, dtype)
        return self.seed_state(
            torch.zeros(batch, self.channels, *spatial, device=place, dtype=kind)
        )

    def seed_state(self, h: Float[Tensor, "batch channels *spatial"]) -> Any:
        """Start from a map or volume: the identity (a cell state is zero)."""
        raise NotImplementedError

    def readout(self, state: Any) -> Float[Tensor, "batch channels *spatial"]:
        """The map or volume of the state."""
        volume: Tensor = state.h
        return volume

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One gated step; x_t [batch, input_dim] or [batch, input_dim, *spatial]."""
        self._check(x_t, "x_t", "[batch")
        check_real(x_t, "x_t")
        self._check_state(state, x_t.shape[0])
        self._check_space(x_t.shape[2:], state.h.shape[2:])
        drive = self._drive(x_t, state.h.shape[2:])
        state = self._update(drive.to(state.h.dtype), state)
        return state.h.to(x_t.dtype), state

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Tensor, Any]:
        """All steps; see `SequenceMixer.forward`."""
        self._check(x, "x", "[batch, time")
        if state is None:
            state = self.init_state(len(x), x.device, spatial=tuple(x.shape[3:]))
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        time, spatial = x.shape[1], state.h.shape[2:]
        self._check_space(x.shape[3:], spatial)
        if not (len(x) and time):
            return x.new_zeros(len(x), time, self.channels, *spatial), state
        drives = self._drive(mask_steps(x, active).flatten(0, 1), spatial)

        def step(drive: Tensor, before: Any) -> tuple[Tensor, Any]:
            after = self._update(drive.to(before.h.dtype), before)
            return after.h, after

        outputs, state = loop_steps(
            step, drives.unflatten(0, (len(x), time)).unbind(1), state,
            fresh_state=self.seed_state(torch.zeros_like(state.h)), active=active, reset=reset,
        )  # fmt: skip
        return mask_steps(torch.stack(outputs, 1).to(x.dtype), active), state

    def _check(self, x: Tensor, name: str, rows: str) -> None:
        """Raise ValueError unless x is a vector or map per row; `rows` names the axes before."""
        lead = rows.count(",") + 1
        axes = (lead + 1, lead + 1 + self.spatial_dims)
        if x.dim() not in axes or x.shape[lead] != self.input_dim:
            raise ValueError(
                f"{name} must be {rows}, {self.input_dim}] or {rows}, {self.input_dim}, "
                f"{self.spatial_dims} spatial axes], got {tuple(x.shape)}"
            )

    def _check_space(self, given: torch.Size, spatial: torch.Size) -> None:
        if given and given != spatial:
            raise ValueError(f"x must have the state's space {list(spatial)}, got {list(given)}")

    def _state_shapes(self) -> Shapes:
        """Of a space of any size."""
        empty = self.init_state(1, "meta", spatial=(0,) * self.spatial_dims)
        return Shapes.of(empty, free_zeros=True)

    def _drive(self, x: Tensor, spatial: torch.Size) -> Tensor:
        """The input's part of all gates, bias included: [rows, gates * channels, *spatial]."""
        raise NotImplementedError

    def _update(self, drive: Tensor, state: Any) -> Any:
        """The next state from the input's part."""
        raise NotImplementedError

    def _of_input(self, x: Tensor, weight: Tensor, spatial: torch.Size) -> Tensor:
        """Convolution of maps, or of a vector repeated over the space."""
        if x.dim() > 2:
            return self._convolve(x, weight)
        if len(spatial) == 3:
            return conv3d_of_repeated(
                x.to(weight.dtype), weight, (spatial[0], spatial[1], spatial[2])
            )
        return self._convolve(x[:, :, None, None].expand(-1, -1, *spatial), weight)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x.to(weight.dtype)
        if self.spatial_dims == 3:
            return conv3d(x, weight, bias)
        return functional.conv2d(x, weight, bias, padding=self.kernel_size // 2)

    def _shaped(self, bias: Tensor | None) -> Tensor:
        assert bias is not None
        return bias.view(-1, *[1] * self.spatial_dims)


class ConvGRU(ConvGated):
    """h' = (1 - z) n + z h with z, r = sigmoid(conv([h, x])) (1511.06432).

    n = tanh(W_n * x + U_n * (r h)), or with `reset_after` n = tanh(W_n * x + r (U_n * h)) as in
    torch's GRUCell.

    The width of the state comes first, as in `ConvRecurrence`; `GRU` takes that of the input first.

    Args:
        channels: Channels of the state and of y.
        input_dim: Channels of x.
        reset_after: Reset gate after the hidden convolution.
        options: `kernel_size`, `spatial_dims`.
    """

    def __init__(
        self, channels: int, input_dim: int, *, reset_after: bool = False, **options: Any
    ) -> None:
        super().__init__(channels, input_dim, **options)
        self.reset_after = reset_after
        self.gates = self._convolution(channels + input_dim, 2 * channels)
        self.hidden = self._convolution(channels, channels)
        self.candidate = self._convolution(input_dim, channels)

    def seed_state(self, h: Float[Tensor, "batch channels *spatial"]) -> ConvGruState:
        """Start from a map or volume: the identity."""
        return ConvGruState(h.to(state_dtype(h)))

    def _drive(self, x: Tensor, spatial: torch.Size) -> Tensor:
        weight = torch.cat([self.gates.weight[:, self.channels :], self.candidate.weight])
        biases = [self._shaped(conv.bias) for conv in (self.gates, self.candidate)]
        return self._of_input(x, weight, spatial) + torch.cat(biases)

    def _update(self, drive: Tensor, state: ConvGruState) -> ConvGruState:
        h, dtype = state.h, state.h.dtype
        of_gates, of_candidate = drive.split([2 * self.channels, self.channels], dim=1)
        gates = self._convolve(h, self.gates.weight[:, : self.channels]).to(dtype)
        z, r = torch.sigmoid(of_gates + gates).chunk(2, dim=1)
        seen = h if self.reset_after else r * h
        hidden = self._convolve(seen, self.hidden.weight, self.hidden.bias).to(dtype)
        n = torch.tanh(of_candidate + (r * hidden if self.reset_after else hidden))
        return ConvGruState((1 - z) * n + z * h)


class ConvLSTM(ConvGated):
    """c' = f c + i g, h' = o tanh(c') with i, f, g, o from conv([h, x]); no peepholes.

    Args:
        channels: Channels of the state and of y.
        input_dim: Channels of x.
        options: `kernel_size`, `spatial_dims`.
    """

    def __init__(self, channels: int, input_dim: int, **options: Any) -> None:
        super().__init__(channels, input_dim, **options)
        self.gates = self._convolution(channels + input_dim, 4 * channels)

    def seed_state(self, h: Float[Tensor, "batch channels *spatial"]) -> ConvLstmState:
        """Start from a map or volume; the cell state is zero."""
        h = h.to(state_dtype(h))
        return ConvLstmState(h, torch.zeros_like(h))

    def _drive(self, x: Tensor, spatial: torch.Size) -> Tensor:
        weight = self.gates.weight[:, self.channels :]
        return self._of_input(x, weight, spatial) + self._shaped(self.gates.bias)

    def _update(self, drive: Tensor, state: ConvLstmState) -> ConvLstmState:
        hidden = self._convolve(state.h, self.gates.weight[:, : self.channels])
        i, f, g, o = (drive + hidden.to(state.h.dtype)).chunk(4, dim=1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        return ConvLstmState(torch.sigmoid(o) * torch.tanh(c), c)


def conv_gru_naive(
    block: ConvGRU, x: Float[Tensor, "batch time inputs *space"], state: ConvGruState
) -> tuple[Float[Tensor, "batch time channels *spatial"], ConvGruState]:
    """Loop oracle of `ConvGRU`: torch's convolutions of [h, x], a step at a time."""
    h, out = state.h, []
    for x_t in _maps(x, h):
        z, r = torch.sigmoid(_same(block.gates, torch.cat([h, x_t], 1))).chunk(2, 1)
        given = _same(block.candidate, x_t)
        if block.reset_after:
            n = torch.tanh(given + r * _same(block.hidden, h))
        else:
            n = torch.tanh(given + _same(block.hidden, r * h))
        h = (1 - z) * n + z * h
        out.append(h)
    return torch.stack(out, 1), ConvGruState(h)


def conv_lstm_naive(
    block: ConvLSTM, x: Float[Tensor, "batch time inputs *space"], state: ConvLstmState
) -> tuple[Float[Tensor, "batch time channels *spatial"], ConvLstmState]:
    """Loop oracle of `ConvLSTM`: torch's convolution of [h, x], a step at a time."""
    (h, c), out = state, []
    for x_t in _maps(x, h):
        i, f, g, o = _same(block.gates, torch.cat([h, x_t], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out, 1), ConvLstmState(h, c)


def _maps(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """The steps as maps; a vector is repeated over the space of h."""
    repeated = x if x.dim() > 3 else x.view(*x.shape, *[1] * (h.dim() - 2))
    return repeated.expand(*x.shape[:3], *h.shape[2:]).unbind(1)


def _same(layer: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """Convolution with the padding that keeps the size."""
    conv = functional.conv2d if layer.weight.dim() == 4 else functional.conv3d
    return conv(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)
