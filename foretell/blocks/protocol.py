"""The protocol of every sequence block: `forward(x, state) -> (y, state)`, state explicit.

States are immutable `NamedTuple`s of tensors with the batch first in every field, so they are
pytrees that `torch.utils._pytree` walks without registration. The library never detaches a state:
truncated back-propagation is the caller's `detach_state` between segments.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree

S = TypeVar("S")


class VolumeState(NamedTuple):
    """State of a recurrence over a feature volume."""

    volume: Float[Tensor, "batch channels *spatial"]
    """Current volume."""
    position: Int[Tensor, " batch"]
    """Steps taken."""


class SequenceMixer(nn.Module):
    """Base of the sequence blocks.

    `forward(x, state=None, *, lengths=None, reset=None) -> (y, state)` consumes
    x [batch, time, input_dim], always returns the final state, and equals repeated
    `step(x_t, state) -> (y_t, state)`. Flags describe the block to its callers and tests.
    """

    input_dim: int
    output_dim: int
    causal: ClassVar[bool] = True
    """y[:, t] depends on x[:, :t+1] only."""
    streamable: ClassVar[bool] = True
    """`step` exists and equals `forward`."""
    chunk_invariant: ClassVar[bool] = True
    """The result does not depend on a chunk size."""
    bounded_state: ClassVar[bool] = True
    """The state does not grow with time."""


def _map_state(fn: Callable[[Tensor], Tensor], state: S) -> S:
    mapped: S = _pytree.tree_map(fn, state)
    return mapped


def detach_state(state: S) -> S:
    """Cut the gradient: every tensor of the state detached."""
    return _map_state(lambda tensor: tensor.detach(), state)


def index_state(state: S, index: Int[Tensor, " rows"]) -> S:
    """Gather rows of the batch axis of every tensor of the state."""
    return _map_state(lambda tensor: tensor[index], state)


def active_steps(
    time: int, *, lengths: Int[Tensor, " batch"] | None, like: Tensor
) -> Bool[Tensor, "batch time"] | None:
    """True where a step is inside its sequence; None = everywhere.

    Args:
        time: Number of steps T.
        lengths: Valid steps of each sequence, 0 <= lengths <= T.
        like: Tensor whose device is used.

    Raises:
        ValueError: If a length lies outside [0, T].
    """
    if lengths is None:
        return None
    if bool(((lengths < 0) | (lengths > time)).any()):
        raise ValueError(f"lengths must lie in [0, {time}], got {lengths.tolist()}")
    steps = lengths.new_tensor(range(time)).to(like.device)
    return steps < lengths.to(like.device)[:, None]
