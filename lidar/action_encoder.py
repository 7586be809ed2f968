"""What the recurrence is told of the ego motion (TREND section 3.2, eq. 4)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.blocks.mlp import mlp
from foretell.blocks.positional import sinusoid

AXIS_DIM = 16
"""Sinusoid dims for each of dx, dy and the gap."""


class ActionEncoder(nn.Module):
    """A = f_act([SE(dx), SE(dy), sin dtheta, cos dtheta]), with SE(gap) where gaps differ.

    Args:
        widths: Layers of f_act.
        code: split16 = 16 sinusoid dims for each of dx and dy; none = raw metres.
        gap_time: Append the sinusoid of the gap.
        time_scale: Seconds are multiplied by this first.
    """

    def __init__(
        self,
        widths: list[int],
        *,
        code: Literal["split16", "none"],
        gap_time: bool,
        time_scale: float,
    ) -> None:
        super().__init__()
        self.code = code
        self.gap_time = gap_time
        self.time_scale = time_scale
        inputs = (2 * AXIS_DIM if code == "split16" else 2) + 2 + AXIS_DIM * gap_time
        self.f_act = mlp([inputs, *widths])

    def forward(
        self, action: Float[Tensor, "batch horizons 3"], gap_s: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, "batch horizons action_dim"]:
        """Encode dx, dy (m), dtheta (rad) and the gaps (s) between consecutive frames."""
        shift, yaw = action[..., :2], action[..., 2:]
        if self.code == "split16":
            shift = sinusoid(shift, AXIS_DIM).flatten(-2)
        parts = [shift, yaw.sin(), yaw.cos()]
        if self.gap_time:
            parts.append(sinusoid(gap_s * self.time_scale, AXIS_DIM))
        code: Tensor = self.f_act(torch.cat(parts, dim=-1))
        return code
