"""The protocol of every sequence block: `forward(x, state) -> (y, state)`, state explicit.

States are immutable `NamedTuple`s of tensors with the batch first in every field, so they are
pytrees that `torch.utils._pytree` walks without registration. Floating fields have at least
float32. The library never detaches a state: truncated back-propagation is the caller's
`detach_state` between segments.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree

S = TypeVar("S")


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

    def _place(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> tuple[torch.device, torch.dtype]:
        """Device and type of a new state."""
        like = next(self.parameters())
        return torch.device(device or like.device), dtype or state_dtype(like)


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
        ValueError: If a length lies outside [0, T], or there is not one for each row.
    """
    if lengths is None:
        return None
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
