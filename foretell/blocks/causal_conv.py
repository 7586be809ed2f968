"""Causal depthwise convolution whose state is its last inputs."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def causal_conv(
    inputs: Float[Tensor, "batch time channels"],
    before: Float[Tensor, "batch channels taps"],
    weight: Float[Tensor, "channels width"],
    bias: Float[Tensor, " channels"] | None,
    *,
    segment: Int[Tensor, "batch time"] | None = None,
    lengths: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch channels taps"]]:
    """y_t = bias + sum_k weight_k u_{t - K + 1 + k}, and the inputs that the next step reads.

    No tap crosses a reset. mamba keeps K inputs; the oldest of them is never read, K - 1 are kept
    here.

    Args:
        inputs: u_t, in the type of the state.
        before: The K - 1 inputs before the first step, oldest first.
        weight: K taps of each channel, the last on the current step.
        bias: Added to y.
        segment: Resets so far; `before` belongs to segment 0.
        lengths: Steps of each row that count; none = all.

    Returns:
        y of every step, and the last K - 1 inputs up to the length, 0 before a reset.
    """
    batch, time = inputs.shape[:2]
    width = weight.shape[1]
    joined = torch.cat([before.transpose(1, 2), inputs], 1)
    weight = weight.to(inputs)
    y = torch.zeros_like(inputs) if bias is None else bias.to(inputs)
    row = torch.arange(batch, device=inputs.device)[:, None]
    if lengths is None:
        lengths = torch.full((batch,), time, device=inputs.device)
    kept = lengths[:, None] + torch.arange(width - 1, device=inputs.device)
    last = joined[row, kept]
    if segment is None:
        for tap in range(width):
            y = torch.addcmul(y, joined[:, tap : tap + time], weight[:, tap])
        return y, last.transpose(1, 2)
    segments = functional.pad(segment, (width - 1, 0))
    for tap in range(width):
        other = segments[:, tap : tap + time].ne(segment)[..., None]
        seen = joined[:, tap : tap + time].masked_fill(other, 0)
        y = torch.addcmul(y, seen, weight[:, tap])
    of_last = segments[row, kept]
    last = last.masked_fill(of_last.ne(of_last[:, -1:])[..., None], 0)
    return y, last.transpose(1, 2)
