"""Lengths and resets of a recurrence that takes its steps one by one."""

from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from foretell.blocks.protocol import where_rows


def loop_steps(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]],
    inputs: Iterable[Tensor],
    state: Any,
    *,
    fresh_state: Any,
    active: Bool[Tensor, "batch time"] | None,
    reset: Bool[Tensor, "batch time"] | None,
) -> tuple[list[Tensor], Any]:
    """Take all steps; a reset comes before its step, an inactive step keeps the state.

    Args:
        step: (input, state) -> (output, state).
        inputs: Of each step, unbound once: the gradient of each x[:, t] would be a tensor of all.
        state: Before the first step.
        fresh_state: What a reset puts in its place.
        active: Steps inside their sequences; none = all.
        reset: Where the rows restart.

    Returns:
        Outputs, of no meaning at inactive steps, and the state after the last active ones.
    """
    outputs = []
    for t, given in enumerate(inputs):
        begin = state if reset is None else where_rows(reset[:, t], fresh_state, state)
        y, after = step(given, begin)
        state = after if active is None else where_rows(active[:, t], after, state)
        outputs.append(y)
    return outputs, state
