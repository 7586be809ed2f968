"""Dense 3D convolution that is fast on CPU too.

torch runs float32 `conv3d` on CPU by an unblocked algorithm, `conv2d` by oneDNN. A volume of few
depth cells is therefore convolved as images: the k depth neighbours of a slice become channels of
one 2D convolution. The sums are the same, only their order differs.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def conv3d(
    x: Float[Tensor, "batch c_in d h w"],
    weight: Float[Tensor, "c_out c_in kd kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
) -> Float[Tensor, "batch c_out d h w"]:
    """Cross-correlation with zero padding that keeps the size, for odd kernels and stride 1."""
    padding = (weight.shape[2] // 2, weight.shape[3] // 2, weight.shape[4] // 2)
    if x.device.type != "cpu":
        return functional.conv3d(x, weight, bias, padding=padding)
    return conv3d_folded(x, weight, bias)


def conv3d_folded(
    x: Float[Tensor, "batch c_in d h w"],
    weight: Float[Tensor, "c_out c_in kd kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
) -> Float[Tensor, "batch c_out d h w"]:
    """The same by one 2D convolution of slices with their depth neighbours as channels."""
    batch, _, depth, height, width = x.shape
    kernel = weight.shape[2]
    padded = functional.pad(x, (0, 0, 0, 0, kernel // 2, kernel // 2))
    slices = padded.unfold(2, kernel, 1)  # [batch, c_in, d, h, w, kd]
    images = slices.permute(0, 2, 1, 5, 3, 4).reshape(batch * depth, -1, height, width)
    folded = weight.flatten(1, 2)  # [c_out, c_in * kd, kh, kw]
    padding = (weight.shape[3] // 2, weight.shape[4] // 2)
    y = functional.conv2d(images, folded, bias, padding=padding)
    return y.view(batch, depth, -1, height, width).transpose(1, 2).contiguous()


class SameConv3d(nn.Conv3d):
    """`nn.Conv3d` with odd kernel, stride 1 and the padding that keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        if kernel_size % 2 != 1:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a volume [batch, c_in, d, h, w]."""
        return conv3d(input, self.weight, self.bias)
