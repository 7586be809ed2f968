"""The protocol of every sequence block: `forward(x, state) -> (y, state)`, state explicit.

States are immutable `NamedTuple`s of tensors with the batch first in every field, so they are
pytrees that `torch.utils._pytree` walks without registration. Floating fields have at least
float32. The library never detaches a state: truncated back-propagation is the caller's
`detach_state` between segments.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree

S = TypeVar("S")


class Shapes(NamedTuple):
    """What the states of a block look like."""

    kind: type
    """Their type."""
    fields: tuple[tuple[str, tuple[int | None, ...]], ...]
    """Name of every tensor, and its sizes behind the batch; None = any."""

    @classmethod
    def of(cls, state: Any, *, free_zeros: bool = False) -> "Shapes":
        """From a state of one row; `free_zeros`: an axis of size 0 stands for any."""
        fields = []
        for name, leaf in zip(_leaf_names(state), _state_leaves(state), strict=True):
            sizes = (None if free_zeros and not size else size for size in leaf.shape[1:])
            fields.append((name, tuple(sizes)))
        return cls(type(state), tuple(fields))


class SequenceMixer(nn.Module):
    """Base of the sequence blocks.

    `forward` consumes x [batch, time, input_dim] and always returns the final state; it equals
    repeated `step`. The flags describe a block to its callers and tests; an instance may differ
    from its class.
    """

    input_dim: int
    output_dim: int
    causal: bool = True
    """y[:, t] depends on x[:, :t+1] only."""
    streamable: bool = True
    """`step` exists and equals `forward`."""
    chunk_invariant: bool = True
    """The result does not depend on a chunk size."""
    bounded_state: bool = True
    """The state does not grow with time."""
    seed_dim: int = 0
    """Width of the vector that `seed_state` takes; 0 = it takes none."""

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Tensor, Any]:
        """Run all steps.

        Args:
            x: [batch, time, input_dim]; spatial blocks [batch, time, channels, *spatial].
            state: Where the sequence stands; none = `init_state`.
            lengths: Valid steps of each row, 0 <= lengths <= time; later steps leave the state as
                it is and give y = 0, whatever x holds there.
            reset: True at t replaces the state by `init_state` before x[:, t] is consumed. NaN and
                infinity before it reach no output, state or gradient of x after it; gradients of
                parameters are sums over all steps and do hold them, and NaN in the gradient of y
                may reach all of its chunk.

        Returns:
            y [batch, time, output_dim] in the type of x, and the state after the last valid step.
        """
        raise NotImplementedError

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: y_t [batch, output_dim] and the next state.

        Raises:
            NotImplementedError: The block is not streamable.
        """
        raise NotImplementedError(f"{type(self).__name__} is not streamable: run forward")

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """The state before the first step.

        Args:
            batch: Rows.
            device: Of the state; none = that of the parameters.
            dtype: Of the floating fields; none = `state_dtype` of the parameters.
        """
        raise NotImplementedError

    def seed_state(self, h: Tensor) -> Any:
        """The state that a vector of each row stands for.

        Raises:
            NotImplementedError: The block has none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot start from a vector: use init_state"
        )

    def readout(self, state: Any) -> Tensor:
        """A summary of the state, [batch, readout_dim].

        Raises:
            NotImplementedError: The block has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no summary of its state: read y")

    def _begin(
        self,
        x: Tensor,
        state: Any,
        *,
        lengths: Int[Tensor, " batch"] | None,
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Any, Bool[Tensor, "batch time"] | None]:
        """Check what `forward` is given: the state, or the initial one, and `active_steps`."""
        check_real(x, "x")
        check_reset(reset, x)
        active = active_steps(x.shape[1], lengths=lengths, like=x)
        if state is None:
            return self.init_state(len(x), x.device), active
        self._check_state(state, x.shape[0])
        return state, active

    def _check_step(self, x_t: Tensor, state: Any, *space: int) -> None:
        """Raise ValueError unless x_t is [batch, input_dim, *space] and the state fits it."""
        if x_t.shape[1:] != (self.input_dim, *space):
            sizes = ", ".join(map(str, (self.input_dim, *space)))
            raise ValueError(f"x_t must be [batch, {sizes}], got {list(x_t.shape)}")
        check_real(x_t, "x_t")
        self._check_state(state, x_t.shape[0])

    def _check_state(self, state: Any, batch: int) -> None:
        """Raise ValueError unless the state has the tensors of this block and as many rows.

        A graph that is being compiled or exported checks the rows alone.
        """
        if state is None:
            raise ValueError("state is None: begin with init_state(batch)")
        leaves = _state_leaves(state)
        if torch.compiler.is_compiling():
            shapes = Shapes(type(state), tuple(("state", leaf.shape[1:]) for leaf in leaves))
        else:
            shapes = _SHAPES.get(self) or _SHAPES.setdefault(self, self._state_shapes())
        if type(state) is not shapes.kind or len(leaves) != len(shapes.fields):
            names = ", ".join(name for name, _ in shapes.fields)
            raise ValueError(
                f"state must be of {type(self).__name__}, a {shapes.kind.__name__} of {names}; "
                f"got a {type(state).__name__} of {len(leaves)} fields"
            )
        for leaf, (name, sizes) in zip(leaves, shapes.fields, strict=True):
            if not isinstance(leaf, Tensor):
                raise ValueError(f"{name} must be a tensor, got {type(leaf).__name__}")
            if leaf.shape[:1] != (batch,) or not _fits(leaf.shape[1:], sizes):
                wanted = ", ".join("any" if size is None else str(size) for size in (batch, *sizes))
                raise ValueError(f"{name} must be [{wanted}], got {list(leaf.shape)}")

    def _state_shapes(self) -> Shapes:
        """Of the states that `forward` and `step` take."""
        return Shapes.of(self.init_state(1, "meta"))

    def _place(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> tuple[torch.device, torch.dtype]:
        """Device and type of a new state."""
        like = next(self.parameters())
        return torch.device(device or like.device), dtype or state_dtype(like)


_SHAPES: WeakKeyDictionary[SequenceMixer, Shapes] = WeakKeyDictionary()
"""Of the states that a block takes, from its first check on."""


def _state_leaves(state: Any) -> list[Any]:
    if not isinstance(state, tuple):
        return [state]
    return [leaf for part in state for leaf in _state_leaves(part)]


def _leaf_names(state: Any, name: str = "state") -> list[str]:
    """Names of the leaves: state.h, state.layers[0].h."""
    if not isinstance(state, tuple):
        return [name]
    own = [f".{field}" for field in getattr(state, "_fields", ())]
    own = own or [f"[{place}]" for place in range(len(state))]
    return [
        leaf
        for tail, part in zip(own, state, strict=True)
        for leaf in _leaf_names(part, name + tail)
    ]


def _fits(shape: tuple[int, ...], sizes: tuple[int | None, ...]) -> bool:
    return shape == sizes or (
        len(shape) == len(sizes)
        and all(want is None or want == got for want, got in zip(sizes, shape, strict=True))
    )


def state_dtype(like: Tensor) -> torch.dtype:
    """Type of the floating fields of a state: at least float32."""
    return torch.promote_types(like.dtype, torch.float32)


def _map_state(fn: Callable[[Tensor], Tensor], state: S) -> S:
    mapped: S = _pytree.tree_map(fn, state)
    return mapped


def detach_state(state: S) -> S:
    """Cut the gradient: every tensor of the state detached."""
    return _map_state(lambda tensor: tensor.detach(), state)


def index_state(state: S, index: Int[Tensor, " rows"]) -> S:
    """Gather rows of the batch axis of every tensor of the state (beams, particles, tracks)."""
    return _map_state(lambda tensor: tensor[index], state)


def cat_states(states: Sequence[S]) -> S:
    """Join states along the batch axis."""
    joined: S = _pytree.tree_map(lambda *tensors: torch.cat(tensors), states[0], *states[1:])
    return joined


def state_to(
    state: S, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> S:
    """Move a state; `dtype` changes its floating fields alone."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    return _map_state(move, state)


def state_numel(state: object) -> int:
    """Numbers in a state, all rows together."""
    return sum(tensor.numel() for tensor in _pytree.tree_leaves(state))


def where_rows(rows: Bool[Tensor, " batch"], state: S, other: S) -> S:
    """The first state in the rows that are True, the second in the rest."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b)

    chosen: S = _pytree.tree_map(choose, state, other)
    return chosen


def active_steps(
    time: int, *, lengths: Int[Tensor, " batch"] | None, like: Tensor
) -> Bool[Tensor, "batch time"] | None:
    """True where a step is inside its sequence; None = everywhere.

    Args:
        time: Number of steps T.
        lengths: Valid steps of each sequence, 0 <= lengths <= T.
        like: Tensor [batch, ...] whose device is used.

    Raises:
        ValueError: If a length lies outside [0, T], or there is not one whole number a row.
    """
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor) or not _is_integer(lengths):
        raise ValueError(f"lengths must be a tensor of integers, got {_kind(lengths)}")
    if lengths.shape != like.shape[:1]:
        raise ValueError(f"lengths must be [{len(like)}], one a row, got {tuple(lengths.shape)}")
    if bool(((lengths < 0) | (lengths > time)).any()):
        raise ValueError(f"lengths must lie in [0, {time}], got {lengths.tolist()}")
    steps = lengths.new_tensor(range(time)).to(like.device)
    return steps < lengths.to(like.device)[:, None]


def mask_steps(
    x: Float[Tensor, "batch time *dims"], active: Bool[Tensor, "batch time"] | None
) -> Float[Tensor, "batch time *dims"]:
    """Exact zeros at inactive steps, NaN and infinity there included."""
    if active is None:
        return x
    return x.masked_fill(~active.view(*active.shape, *[1] * (x.dim() - 2)), 0)


def check_input(x: Tensor, width: int, name: str = "x") -> None:
    """Raise ValueError unless x is [batch, time, width]."""
    if x.dim() != 3 or x.shape[-1] != width:
        raise ValueError(f"{name} must be [batch, time, {width}], got {tuple(x.shape)}")


def check_real(x: Tensor, name: str) -> None:
    """Raise ValueError unless x holds real floating-point numbers."""
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {_kind(x)}")


def check_reset(reset: Tensor | None, x: Tensor) -> None:
    """Raise ValueError unless `reset` is none, or bool and [batch, time] as x is."""
    if reset is None:
        return
    if not isinstance(reset, Tensor) or reset.dtype != torch.bool:
        raise ValueError(f"reset must be a tensor of bool, got {_kind(reset)}")
    if reset.shape != x.shape[:2]:
        raise ValueError(f"reset must be {list(x.shape[:2])}, got {list(reset.shape)}")


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
