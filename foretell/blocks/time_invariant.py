"""What LSSL and S4D share: lengths, resets and the state's type around one linear scan."""

from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.blocks.checks import check_positive
from foretell.blocks.protocol import active_steps, check_input, mask_steps
from foretell.blocks.scan.time_invariant import BlockSystem, time_invariant_scan
from foretell.blocks.segments import TIME_BLOCK, run_blocks, run_segments
from foretell.blocks.state_maps import LinearStateMixer


class TimeInvariantMixer(LinearStateMixer):
    """A linear state space of constant coefficients per channel, then a map across channels.

    It cannot close a gate: padded inputs count as 0 and the final state is taken at the true
    length; the pieces between resets run as rows of their own. Nothing is kept between calls: the
    coefficients are discretised anew by each.

    Args:
        dim: Channels of x and of y.
        state_dim: Floats of a channel's state.
        block_size: Steps that one kernel covers; longer sequences pass the state on. A matter of
            speed and memory only, which grows with dim * state_dim * block_size.
    """

    mapped_fields = ("x",)
    max_block_size: ClassVar[int]
    D: Tensor

    def __init__(self, dim: int, state_dim: int, *, block_size: int) -> None:
        super().__init__()
        check_positive(dim=dim, state_dim=state_dim)
        if not 1 <= block_size <= self.max_block_size:
            raise ValueError(f"block_size must lie in [1, {self.max_block_size}], got {block_size}")
        self.input_dim = self.output_dim = dim
        self.state_dim, self.block_size = state_dim, block_size

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Any]:
        """All steps; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, _ = self._begin(x, state, lengths=lengths, reset=reset)
        with torch.autocast(x.device.type, enabled=False):
            system = self._system(max(1, min(x.shape[1], self.block_size)), state.x.dtype)
        block = self.block_size * max(1, TIME_BLOCK // self.block_size)
        run = partial(self._forward, system)
        return run_blocks(run, x, state, lengths, reset, block_size=block)

    def _forward(
        self,
        system: BlockSystem,
        x: Float[Tensor, "batch time dim"],
        state: Any,
        lengths: Int[Tensor, " batch"] | None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Any]:
        """Some blocks of `forward`."""
        dtype, active = state.x.dtype, active_steps(x.shape[1], lengths=lengths, like=x)
        with torch.autocast(x.device.type, enabled=False):
            u = mask_steps(x, active).to(dtype)

            def run(rows: Tensor, before: Any, sizes: Tensor | None) -> tuple[Tensor, Any]:
                valid = active_steps(rows.shape[1], lengths=sizes, like=rows)
                y, end = time_invariant_scan(
                    mask_steps(rows, valid), before.x.flatten(2), system, lengths=sizes
                )
                return y, type(before)(end.view_as(before.x))

            if reset is None:
                y, state = run(u, state, lengths)
            else:
                fresh = self.init_state(len(x), x.device, dtype)
                y, state = run_segments(run, u, state, fresh, lengths=lengths, reset=reset)
            y = y + self.D.to(dtype).view(self.input_dim, -1) * u[..., None]
        return mask_steps(self._mix(y).to(x.dtype), active), state

    def _system(self, block: int, dtype: torch.dtype) -> BlockSystem:
        """The powers of one block, in the state's type."""
        raise NotImplementedError

    def _mix(self, y: Float[Tensor, "*rows dim outputs"]) -> Float[Tensor, "*rows dim"]:
        """The map across channels, in the weights' type or autocast's."""
        raise NotImplementedError


def check_system_type(dtype: torch.dtype) -> None:
    """Raise ValueError unless a system can be discretised in this type, that of the state."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"state.x must be float32 or float64, got {dtype}: nothing discretises a state space "
            "in it; leave out dtype in init_state"
        )
