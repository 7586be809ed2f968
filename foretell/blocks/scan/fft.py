"""Causal convolution in the frequency domain, for time-invariant recurrences."""

import torch
from jaxtyping import Float
from torch import Tensor


def fft_conv(
    K: Float[Tensor, "dim *outputs taps"], u: Float[Tensor, "batch time dim"]
) -> Float[Tensor, "batch time dim *outputs"]:
    """`naive.fft_conv` by transforms of length 2 time: y = irfft(rfft(K) rfft(u)), first half.

    The zeros of the second half keep the circular convolution from wrapping round. Rounding
    spreads over all steps: relative to the largest output, not to each.

    Args:
        K: Kernels, one of each channel (S4D), or of each channel and output (LSSL).
        u: Inputs.

    Returns:
        y of every step.
    """
    time = u.shape[1]
    axes = (slice(None), slice(None)) + (None,) * (K.ndim - 2)
    if time == 0:
        return u[(..., *axes[2:])].expand(*u.shape, *K.shape[1:-1]).clone()
    kernel = torch.fft.rfft(K[..., :time], 2 * time)
    inputs = torch.fft.rfft(u.transpose(1, 2), 2 * time)[axes]
    y: Tensor = torch.fft.irfft(kernel * inputs, 2 * time)[..., :time]
    return y.movedim(-1, 1)
