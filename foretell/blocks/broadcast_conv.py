"""Convolution of a vector repeated over a volume, without repeating it.

With zero padding, `conv(V + A repeated)` splits into `conv(V; W_v) + E(A)`. E is constant in the
interior; at the borders the padding removes taps, so along each axis only the first and last k//2
cells differ. It is enough to convolve A on min(n, k) cells per axis and to stretch the middle one.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from foretell.blocks.conv3d import conv3d


def conv3d_of_repeated(
    vector: Float[Tensor, "batch in_channels"],
    weight: Float[Tensor, "out_channels in_channels kz ky kx"],
    shape: tuple[int, int, int],
) -> Float[Tensor, "batch out_channels depth height width"]:
    """`functional.conv3d(vector repeated over shape, weight, padding=k//2)`, exactly.

    Args:
        vector: One vector per sample.
        weight: Odd cubic kernel.
        shape: (D, H, W) of the volume.

    Returns:
        The convolution, mostly an expanded view.
    """
    kernel = weight.shape[2:]
    small = [min(n, k) for n, k in zip(shape, kernel, strict=True)]
    repeated = vector[:, :, None, None, None].expand(-1, -1, *small)
    out = conv3d(repeated, weight)
    for axis, (n, k) in enumerate(zip(shape, kernel, strict=True), start=2):
        if n > k:
            low, middle, high = out.split([k // 2, 1, k // 2], dim=axis)
            stretched = list(out.shape)
            stretched[axis] = n - 2 * (k // 2)
            out = torch.cat([low, middle.expand(stretched), high], dim=axis)
    return out


def conv3d_with_repeated(
    volume: Float[Tensor, "batch channels depth height width"],
    vector: Float[Tensor, "batch extra"],
    weight: Float[Tensor, "out_channels inputs kz ky kx"],
    bias: Float[Tensor, " out_channels"] | None,
) -> Float[Tensor, "batch out_channels depth height width"]:
    """`conv3d([volume | vector repeated])` with same padding, without the concatenated copy.

    Args:
        volume: Feature volume, first in the channels of `weight`.
        vector: One vector per sample, last in the channels of `weight`.
        weight: Kernel over channels + extra inputs.
        bias: Optional bias.
    """
    channels = volume.shape[1]
    out = conv3d(volume, weight[:, :channels], bias)
    shape = (volume.shape[2], volume.shape[3], volume.shape[4])
    return out + conv3d_of_repeated(vector, weight[:, channels:], shape).to(out.dtype)


def conv3d_with_repeated_naive(
    volume: Float[Tensor, "batch channels depth height width"],
    vector: Float[Tensor, "batch extra"],
    weight: Float[Tensor, "out_channels inputs kz ky kx"],
    bias: Float[Tensor, " out_channels"] | None,
) -> Float[Tensor, "batch out_channels depth height width"]:
    """The literal form of `conv3d_with_repeated`: repeat, concatenate, convolve."""
    repeated = vector[:, :, None, None, None].expand(-1, -1, *volume.shape[2:])
    both = torch.cat([volume, repeated.to(volume.dtype)], dim=1)
    return functional.conv3d(both, weight, bias, padding=[k // 2 for k in weight.shape[2:]])
