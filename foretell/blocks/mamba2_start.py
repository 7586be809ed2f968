"""How Mamba-2's decays and time steps start (2405.21060)."""

import math

import torch
from torch import Tensor

DECAY_RATE = (1.0, 16.0)
"""Range of exp(A_log), uniform."""
TIME_STEP = (1e-3, 1e-1)
"""Range of dt, uniform in its logarithm."""


@torch.no_grad()
def start_decays(log_decay_rate: Tensor, dt_bias: Tensor, *, per_channel: bool) -> None:
    """Fill A_log and dt_bias: exp(A_log) ~ U(1, 16), dt log-uniform in 1e-3 .. 1e-1.

    Args:
        log_decay_rate: A_log, [heads], or [heads, width, state] with a decay per channel.
        dt_bias: [heads].
        per_channel: exp(A_log) is 1 .. N in every channel, as in Mamba-1.
    """
    low, high = (math.log(dt) for dt in TIME_STEP)
    dt = torch.empty_like(dt_bias).uniform_(low, high).exp()
    dt_bias.copy_(dt + (-torch.expm1(-dt)).log())  # softplus of this is dt
    if per_channel:
        columns = torch.arange(1, log_decay_rate.shape[-1] + 1).to(log_decay_rate)
        log_decay_rate.copy_(columns.log().expand_as(log_decay_rate))
    else:
        log_decay_rate.uniform_(*DECAY_RATE).log_()
