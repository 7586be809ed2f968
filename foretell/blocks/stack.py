"""Blocks made of blocks: residual stacks, and an encoder per frame before a mixer."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_choice, check_dropout
from foretell.blocks.protocol import SequenceMixer, active_steps, check_input, mask_steps

Norm = Literal["none", "layer", "rms"]
Pool = Literal["mean", "last", "none"]


class Stack(SequenceMixer):
    """Mixers one after the other: x + dropout(mixer(norm(x))), pre-norm.

    The state is the tuple of the layers' states. Layers that change the width have no skip.

    Args:
        mixers: Layers; each takes what the one before gives.
        norm: Before every layer.
        residual: Add a layer's input to its output.
        dropout: Of a layer's output; without `residual`, between the layers.
    """

    def __init__(
        self,
        mixers: Sequence[SequenceMixer],
        *,
        norm: Norm = "layer",
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not mixers:
            raise ValueError("a stack needs at least one mixer, got none")
        check_dropout(dropout=dropout)
        for before, after in zip(mixers[:-1], mixers[1:], strict=True):
            if before.output_dim != after.input_dim:
                raise ValueError(
                    f"widths do not fit: a layer gives {before.output_dim}, the next takes "
                    f"{after.input_dim}"
                )
        self.mixers = nn.ModuleList(mixers)
        self.norms = nn.ModuleList(build_norm(norm, mixer.input_dim) for mixer in mixers)
        self.residual, self.dropout = residual, dropout
        self.input_dim, self.output_dim = mixers[0].input_dim, mixers[-1].output_dim
        self.causal = all(mixer.causal for mixer in mixers)
        self.streamable = all(mixer.streamable for mixer in mixers)
        self.chunk_invariant = all(mixer.chunk_invariant for mixer in mixers)
        self.bounded_state = all(mixer.bounded_state for mixer in mixers)

    def reset_parameters(self) -> None:
        """Of all layers and norms."""
        for module in (*self.mixers, *self.norms):
            if isinstance(module, SequenceMixer | nn.LayerNorm | nn.RMSNorm):
                module.reset_parameters()  # type: ignore[operator]

    def extra_repr(self) -> str:
        """Options for `print(module)`."""
        return f"residual={self.residual}, dropout={self.dropout:g}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Any, ...]:
        """Of every layer."""
        return tuple(mixer.init_state(batch, device, dtype) for mixer in self._layers())

    def readout(self, state: Any) -> Tensor:
        """Of the last layer."""
        return self._layers()[-1].readout(state[-1])

    def step(self, x_t: Float[Tensor, "batch input_dim"], state: Any) -> tuple[Tensor, Any]:
        """One step through all layers."""
        self._check_step(x_t, state)
        states = []
        for place, (mixer, norm) in enumerate(zip(self._layers(), self.norms, strict=True)):
            y_t, after = mixer.step(_normed(norm, x_t), state[place])
            x_t = self._joined(x_t, y_t, place)
            states.append(after)
        return x_t, tuple(states)

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
        x, states = mask_steps(x, active), []
        for place, (mixer, norm) in enumerate(zip(self._layers(), self.norms, strict=True)):
            y, after = mixer(_normed(norm, x), state[place], lengths=lengths, reset=reset)
            x = self._joined(x, y, place)
            states.append(after)
        return mask_steps(x, active), tuple(states)

    def _check_state(self, state: Any, batch: int) -> None:
        """The layers check their own."""
        if not isinstance(state, tuple) or len(state) != len(self.mixers):
            got = len(state) if isinstance(state, tuple) else type(state).__name__
            raise ValueError(
                f"state must be a tuple of the {len(self.mixers)} layers' states, got {got}"
            )

    def _layers(self) -> list[SequenceMixer]:
        return [mixer for mixer in self.mixers if isinstance(mixer, SequenceMixer)]

    def _joined(self, x: Tensor, y: Tensor, place: int) -> Tensor:
        skips = self.residual and x.shape[-1] == y.shape[-1]
        if skips or place < len(self.mixers) - 1:
            y = functional.dropout(y, self.dropout, self.training)
        return x + y if skips else y


def _normed(norm: nn.Module, x: Float[Tensor, "*steps width"]) -> Float[Tensor, "*steps width"]:
    """Norm in the type of its weight, answer in that of x.

    torch's norms refuse some pairs of types and are slow on others; a GPU's autocast answers in
    float32 whatever x is.
    """
    weight = getattr(norm, "weight", None)
    given = x if weight is None else x.to(weight.dtype)
    normed: Tensor = norm(given)
    return normed.to(x.dtype)


def stack_naive(
    stack: Stack,
    x: Float[Tensor, "batch time input_dim"],
    state: Any,
    *,
    oracles: Sequence[Callable[..., tuple[Tensor, Any]]],
) -> tuple[Float[Tensor, "batch time output_dim"], Any]:
    """Oracle of `Stack` in evaluation, from the oracles of its layers.

    Args:
        stack: Layers and norms.
        x: Inputs.
        state: Of every layer.
        oracles: (mixer, x, state) -> (y, state) of every layer.
    """
    ends = []
    for mixer, norm, own, oracle in zip(stack.mixers, stack.norms, state, oracles, strict=True):
        y, end = oracle(mixer, norm(x), own)
        x = x + y if stack.residual and x.shape == y.shape else y
        ends.append(end)
    return x, tuple(ends)


def build_norm(norm: Norm, width: int) -> nn.Module:
    """The norm that a name asks for."""
    check_choice("norm", norm, Norm)
    match norm:
        case "none":
            return nn.Identity()
        case "layer":
            return nn.LayerNorm(width)
        case "rms":
            return nn.RMSNorm(width)


class TimeDistributed(nn.Module):
    """An encoder on every frame of a video, frames folded into the batch (LRCN, 1411.4389).

    Args:
        encoder: Module on [frames, ...].
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "batch time *frame"]) -> Float[Tensor, "batch time *code"]:
        """Encode [batch, time, ...] frame by frame."""
        codes: Tensor = self.encoder(x.flatten(0, 1))
        return codes.view(*x.shape[:2], *codes.shape[1:])


class LRCN(nn.Module):
    """Encoder per frame, a mixer over time, a head per step, pooled (1411.4389; to be confirmed).

    Args:
        encoder: Frames [rows, ...] to codes [rows, mixer.input_dim].
        mixer: Any sequence block.
        output_dim: Width of the head.
        pool: mean = over the valid steps, as published; last = at the last valid step; none = every
            step's own answer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        mixer: SequenceMixer,
        output_dim: int,
        *,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        check_choice("pool", pool, Pool)
        self.frames = TimeDistributed(encoder)
        self.mixer, self.pool = mixer, pool
        self.head = nn.Linear(mixer.output_dim, output_dim)

    def forward(
        self,
        x: Float[Tensor, "batch time *frame"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Tensor, Any]:
        """Answers [batch, output_dim], or [batch, time, output_dim] unpooled, and the state.

        A row without valid steps is answered by the head of zeros.
        """
        active = active_steps(x.shape[1], lengths=lengths, like=x)
        y, state = self.mixer(self.frames(mask_steps(x, active)), state, lengths=lengths)
        if self.pool == "none":
            return self.head(y), state
        count = torch.full((len(y),), x.shape[1], device=y.device)
        count = count if active is None else active.sum(1)
        nothing = self.head(y.new_zeros(len(y), y.shape[2]))
        if self.pool == "mean":
            answers = mask_steps(self.head(y), active).sum(1) / count.clamp(min=1)[:, None]
            return torch.where((count == 0)[:, None], nothing, answers), state
        if not x.shape[1]:
            return nothing, state
        last = (count - 1).clamp(min=0)
        return self.head(y[torch.arange(len(y), device=y.device), last]), state
