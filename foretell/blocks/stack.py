"""Blocks made of blocks: residual stacks, and an encoder per frame before a mixer."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_choice, check_dropout, check_positive
from foretell.blocks.mlp import mlp
from foretell.blocks.protocol import SequenceMixer, active_steps, check_input, mask_steps

Norm = Literal["none", "layer", "rms"]
Pool = Literal["mean", "last", "none"]


class Stack(SequenceMixer):
    """Mixers one after the other: x + dropout(mixer(norm(x))), pre-norm.

    With `feedforward_dim` x + dropout(MLP(norm(x))) follows every mixer, the MLP with one hidden
    layer and GELU: a Transformer's layer with a mixer for its attention. The state is the tuple of
    the layers' states. Layers that change the width have no skip.

    `forward` and `step` hand keywords beyond the protocol's, such as `ids` of n-gram heads or
    `prefix_len` of linear attention, to every layer that takes them.

    Args:
        mixers: Layers; each takes what the one before gives.
        norm: Before every mixer and every MLP.
        residual: Add the input of a mixer or MLP to its output.
        dropout: Of the output of a mixer or MLP; without `residual`, between them.
        feedforward_dim: Width inside the MLPs; none = no MLPs.
    """

    def __init__(
        self,
        mixers: Sequence[SequenceMixer],
        *,
        norm: Norm = "layer",
        residual: bool = True,
        dropout: float = 0.0,
        feedforward_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(feedforward_dim=feedforward_dim)
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
        self.mlps = nn.ModuleList()
        if feedforward_dim is not None:
            for width in (mixer.output_dim for mixer in mixers):
                inner = mlp([width, feedforward_dim, width], activation=nn.GELU)
                self.mlps.append(nn.Sequential(build_norm(norm, width), *inner))
        self.residual, self.dropout = residual, dropout
        self.input_dim, self.output_dim = mixers[0].input_dim, mixers[-1].output_dim
        self.causal = all(mixer.causal for mixer in mixers)
        self.streamable = all(mixer.streamable for mixer in mixers)
        self.chunk_invariant = all(mixer.chunk_invariant for mixer in mixers)
        self.bounded_state = all(mixer.bounded_state for mixer in mixers)
        self.seed_dim = sum(mixer.seed_dim for mixer in mixers)
        self.forward_keywords = [_keywords(mixer, "forward") for mixer in mixers]
        self.step_keywords = [_keywords(mixer, "step") for mixer in mixers]

    def reset_parameters(self) -> None:
        """Of all layers, norms and MLPs."""
        parts = (part for block in self.mlps for part in block.children())
        for module in (*self.mixers, *self.norms, *parts):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

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

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> tuple[Any, ...]:
        """Start from the layers' vectors side by side, as a recurrence with several layers.

        Layers that take no vector (`seed_dim` 0) start as `init_state`.

        Raises:
            ValueError: No layer takes a vector, or h is not as wide as all of them together.
        """
        if not self.seed_dim:
            raise ValueError("no layer of the stack takes a seed: give one of them a seed_dim")
        if h.shape[1] != self.seed_dim:
            raise ValueError(f"seed must have width {self.seed_dim}, got {h.shape[1]}")
        mixers = self._layers()
        parts = h.split([mixer.seed_dim for mixer in mixers], dim=1)
        return tuple(
            mixer.seed_state(part) if mixer.seed_dim else mixer.init_state(len(h), h.device)
            for mixer, part in zip(mixers, parts, strict=True)
        )

    def readout(self, state: Any) -> Tensor:
        """Of the last layer."""
        return self._layers()[-1].readout(state[-1])

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: Any, **extra: Any
    ) -> tuple[Tensor, Any]:
        """One step through all layers; `extra` is for those that take it."""
        self._check_step(x_t, state)
        own, states = _hand_out(extra, self.step_keywords), []
        for place, (mixer, norm) in enumerate(zip(self._layers(), self.norms, strict=True)):
            y_t, after = mixer.step(_cast(norm, x_t), state[place], **own[place])
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
        **extra: Any,
    ) -> tuple[Float[Tensor, "batch time output_dim"], Any]:
        """All steps; see `SequenceMixer.forward`. `extra` is for the layers that take it.

        Raises:
            ValueError: No layer takes a keyword.
        """
        check_input(x, self.input_dim)
        own = _hand_out(extra, self.forward_keywords)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        x, states = mask_steps(x, active), []
        for place, (mixer, norm) in enumerate(zip(self._layers(), self.norms, strict=True)):
            given = _cast(norm, x)
            y, after = mixer(given, state[place], lengths=lengths, reset=reset, **own[place])
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
        """What layer `place` makes of its input and its mixer's output."""
        last = place == len(self.mixers) - 1
        if not self.mlps:
            return self._add(x, y, last=last)
        x = self._add(x, y, last=False)
        return self._add(x, _cast(self.mlps[place], x), last=last)

    def _add(self, x: Tensor, y: Tensor, *, last: bool) -> Tensor:
        skips = self.residual and x.shape[-1] == y.shape[-1]
        if skips or not last:
            y = functional.dropout(y, self.dropout, self.training)
        return x + y if skips else y


def _cast(part: nn.Module, x: Float[Tensor, "*steps width"]) -> Float[Tensor, "*steps width"]:
    """A norm or MLP in the type of its weights, answer in that of x.

    torch's norms refuse some pairs of types and are slow on others; a GPU's autocast answers in
    float32 whatever x is.
    """
    weight = next(part.parameters(), None)
    given = x if weight is None else x.to(weight.dtype)
    y: Tensor = part(given)
    return y.to(x.dtype)


def _keywords(mixer: SequenceMixer, method: str) -> frozenset[str]:
    """What the method takes beyond the protocol."""
    if isinstance(mixer, Stack):
        inner = mixer.forward_keywords if method == "forward" else mixer.step_keywords
        return frozenset().union(*inner)
    names = inspect.signature(getattr(mixer, method)).parameters
    return frozenset(names) - {"x", "x_t", "state", "lengths", "reset"}


def _hand_out(extra: dict[str, Any], keywords: Sequence[frozenset[str]]) -> list[dict[str, Any]]:
    """Of every layer, the keywords that it takes."""
    allowed: frozenset[str] = frozenset().union(*keywords)
    for name in sorted(extra.keys() - allowed):
        known = ", ".join(sorted(allowed)) or "none"
        raise ValueError(f"no layer of the stack takes {name!r}; keywords beyond x: {known}")
    return [{name: extra[name] for name in extra.keys() & own} for own in keywords]


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
    ends: list[Any] = []
    for mixer, norm, own, oracle in zip(stack.mixers, stack.norms, state, oracles, strict=True):
        y, end = oracle(mixer, norm(x), own)
        x = x + y if stack.residual and x.shape == y.shape else y
        if stack.mlps:
            y = stack.mlps[len(ends)](x)
            x = x + y if stack.residual else y
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

    def init_state(self, batch: int, device: torch.device | str | None = None) -> Any:
        """Of the mixer."""
        return self.mixer.init_state(batch, device)

    def step(
        self, x_t: Float[Tensor, "batch *frame"], state: Any
    ) -> tuple[Float[Tensor, "batch output_dim"], Any]:
        """The answer of one frame, before any pooling, and the next state."""
        y_t, state = self.mixer.step(self.frames(x_t[:, None])[:, 0], state)
        return self.head(y_t), state

    def forward(
        self,
        x: Float[Tensor, "batch time *frame"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Tensor, Any]:
        """Answers [batch, output_dim], or [batch, time, output_dim] unpooled, and the state.

        A row without valid steps is answered by the head of zeros.

        Raises:
            ValueError: `reset` with a mean over time, which would mix sequences.
        """
        if reset is not None and self.pool == "mean":
            raise ValueError("reset with pool='mean' would mix sequences: take pool='none'")
        active = active_steps(x.shape[1], lengths=lengths, like=x)
        codes = self.frames(mask_steps(x, active))
        y, state = self.mixer(codes, state, lengths=lengths, reset=reset)
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
