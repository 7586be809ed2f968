"""Learned linear maps into and out of the state of a mixer, made only when they are asked for."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.blocks.protocol import SequenceMixer

MAX_MAPPED = 1_000_000
"""Most numbers of a state that a map may reach: its weight has a row or column for each."""


class LinearStateMixer(SequenceMixer):
    """A mixer that starts from a vector h and sums its state up by one Linear each.

    The fields `mapped_fields` of the state, flattened one after the other, are W h + b at the
    start; `readout` is V (the same, flattened) + c. A block calls `_make_maps` once its other
    parameters exist, and `_reset_maps` in `reset_parameters`.
    """

    mapped_fields: ClassVar[tuple[str, ...]]
    """Names of the state's fields that are free real numbers."""
    seed: nn.Linear | None
    summary: nn.Linear | None

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> Any:
        """The state that a learned map makes of a vector; the rest as in `init_state`.

        Raises:
            ValueError: The block was made without `seed_dim`, or h has another width.
        """
        if self.seed is None:
            raise ValueError(f"{type(self).__name__} has no map of a seed: make it with seed_dim")
        if h.shape[1] != self.seed.in_features:
            raise ValueError(f"seed must have width {self.seed.in_features}, got {h.shape[1]}")
        state = self.init_state(len(h), h.device)
        fields = [getattr(state, name) for name in self.mapped_fields]
        sizes = [math.prod(field.shape[1:]) for field in fields]
        parts = self.seed(h.to(self.seed.weight.dtype)).split(sizes, dim=1)
        values = [part.to(field).view_as(field) for part, field in zip(parts, fields, strict=True)]
        return state._replace(**dict(zip(self.mapped_fields, values, strict=True)))

    def readout(self, state: Any) -> Float[Tensor, "batch readout_dim"]:
        """A learned summary of the state.

        Raises:
            ValueError: The block was made without `readout_dim`.
        """
        if self.summary is None:
            raise ValueError(f"{type(self).__name__} has no summary: make it with readout_dim")
        summary: Tensor = self.summary(self._flat(state).to(self.summary.weight.dtype))
        return summary

    def _flat(self, state: Any) -> Float[Tensor, "batch numbers"]:
        """What `readout` maps."""
        return torch.cat([getattr(state, name).flatten(1) for name in self.mapped_fields], 1)

    def _make_maps(self, seed_dim: int | None, readout_dim: int | None) -> None:
        """Create the maps whose widths are given."""
        state = self.init_state(1, "meta")
        filled = sum(getattr(state, name).numel() for name in self.mapped_fields)
        self.seed = self.summary = None
        if seed_dim is not None:
            self._check_mapped("seed_dim", filled)
            self.seed, self.seed_dim = nn.Linear(seed_dim, filled), seed_dim
        if readout_dim is not None:
            read = self._flat(state).shape[1]
            self._check_mapped("readout_dim", read)
            self.summary = nn.Linear(read, readout_dim)

    def _reset_maps(self) -> None:
        """PyTorch's defaults."""
        for part in (self.seed, self.summary):
            if part is not None:
                part.reset_parameters()

    def _check_mapped(self, name: str, numbers: int) -> None:
        if numbers > MAX_MAPPED:
            raise ValueError(
                f"{name} needs a state of at most {MAX_MAPPED} numbers a row, got {numbers}: "
                "lower the sizes of the state"
            )
