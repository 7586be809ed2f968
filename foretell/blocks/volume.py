"""Recurrences over a feature volume whose input is one vector per step."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.blocks.loop import loop_steps
from foretell.blocks.protocol import SequenceMixer, Shapes, check_input, mask_steps


class VolumeMixer(SequenceMixer):
    """P_{n+1} from P_n and a vector x_n; y is the volume.

    The state has a field `volume`, of at least float32 whatever the convolutions run in: under
    autocast or low-precision weights rounding must not add up over the steps.
    """

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        spatial: tuple[int, ...] = (),
    ) -> Any:
        """A volume of zeros of the given size.

        Raises:
            ValueError: The size does not have three axes.
        """
        if len(spatial) != 3:
            raise ValueError(f"spatial must name 3 sizes, got {spatial}: start from seed_state")
        place, kind = self._place(device, dtype)
        return self.seed_state(
            torch.zeros(batch, self.output_dim, *spatial, device=place, dtype=kind)
        )

    def seed_state(self, volume: Float[Tensor, "batch channels depth height width"]) -> Any:
        """Start from a volume: the identity."""
        raise NotImplementedError

    def _state_shapes(self) -> Shapes:
        """Of a space of any size."""
        return Shapes.of(self.init_state(1, "meta", spatial=(0, 0, 0)), free_zeros=True)

    def readout(self, state: Any) -> Float[Tensor, "batch channels depth height width"]:
        """The volume."""
        volume: Tensor = state.volume
        return volume

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time channels depth height width"], Any]:
        """Run all steps from a seeded state.

        Args:
            x: One vector per step.
            state: `seed_state(volume)`; required, because the volume gives the spatial size.
            lengths: Valid steps of each sequence; later ones keep the state and give y = 0.
            reset: True restarts the sequence from a zero volume before the step is taken.

        Returns:
            The volume after each step, and the last state.

        Raises:
            ValueError: If state is None, or x has another width.
        """
        check_input(x, self.input_dim)
        if state is None:
            raise ValueError("state is None: start a volume recurrence from seed_state(volume)")
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        outputs, state = loop_steps(
            self.step, mask_steps(x, active).unbind(1), state,
            fresh_state=self.seed_state(torch.zeros_like(state.volume)),
            active=active, reset=reset,
        )  # fmt: skip
        if not outputs:
            return x.new_zeros(len(x), 0, *state.volume.shape[1:]), state
        return mask_steps(torch.stack(outputs, 1), active), state
