"""Dense 3D convolution that is fast on CPU too.

For float32 on CPU torch takes oneDNN's `conv3d` only from two volumes on, or where batch x channels
x depth x height exceeds 20,480, and else an unblocked algorithm several times slower. A single
small volume is therefore cut in two halves that overlap by the kernel's reach, unless it is so tiny
that the cutting would take longer. The sums are the same.

A volume one cell deep sees the middle plane of the kernel alone, and is convolved in two
dimensions: torch 2.13's bfloat16 `conv3d` of such volumes gave numbers from memory that was never
written, on a CPU with AMX and 1, 3, 5, 7, 9 or 11 to 15 channels.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_TORCH_TAKES_ONEDNN = 20_480
_FEW_PRODUCTS = 2**22
"""Measured on one thread: below, cutting and joining take longer than they gain (volumes of
32 x 2 x 8 x 8 and less), ten times longer for a handful of cells."""


def conv3d(
    x: Float[Tensor, "batch c_in d h w"],
    weight: Float[Tensor, "c_out c_in kd kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
) -> Float[Tensor, "batch c_out d h w"]:
    """Cross-correlation with zero padding that keeps the size, for odd kernels and stride 1."""
    if x.shape[2] == 1:
        plane = weight[:, :, weight.shape[2] // 2]
        padding = (plane.shape[2] // 2, plane.shape[3] // 2)
        return functional.conv2d(x[:, :, 0], plane, bias, padding=padding)[:, :, None]
    single_small = x.shape[0] == 1 and x[..., 0].numel() <= _TORCH_TAKES_ONEDNN
    many = weight.numel() * math.prod(x.shape[2:]) > _FEW_PRODUCTS
    if x.device.type == "cpu" and single_small and many:
        return conv3d_halved(x, weight, bias)
    around = (weight.shape[2] // 2, weight.shape[3] // 2, weight.shape[4] // 2)
    return functional.conv3d(x, weight, bias, padding=around)


def conv3d_halved(
    x: Float[Tensor, "batch c_in d h w"],
    weight: Float[Tensor, "c_out c_in kd kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
) -> Float[Tensor, "batch c_out d h w"]:
    """The same by one convolution of the left and the right halves, twice the batch."""
    width, reach = x.shape[4], weight.shape[4] // 2
    half = -(-width // 2)
    padded = functional.pad(x, (reach, 2 * half - width + reach))
    halves = padded.unfold(4, half + 2 * reach, half)  # [batch, c_in, d, h, 2, half + 2 reach]
    padding = (weight.shape[2] // 2, weight.shape[3] // 2, 0)
    y = functional.conv3d(halves.movedim(4, 1).flatten(0, 1), weight, bias, padding=padding)
    joined: Tensor = y.unflatten(0, (-1, 2)).movedim(1, 4).flatten(4)
    return joined[..., :width].contiguous()


class SameConv3d(nn.Conv3d):
    """`nn.Conv3d` with odd kernel, stride 1 and the padding that keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        if kernel_size % 2 != 1:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a volume [batch, c_in, d, h, w]."""
        return conv3d(input, self.weight, self.bias)
