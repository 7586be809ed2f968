"""The folded convolution is torch's conv3d, values and gradients."""

import pytest
import torch
from torch.nn import functional

from foretell.blocks.conv3d import SameConv3d, conv3d_folded


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_folded_equals_conv3d(depth: int, kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, depth, 6, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, kernel, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(2, 4, depth, 6, 7, dtype=torch.float64)
    expected = functional.conv3d(x, weight, bias, padding=kernel // 2)
    result = conv3d_folded(x, weight, bias)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(result, (x, weight, bias), cotangent),
        torch.autograd.grad(expected, (x, weight, bias), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd, got 2"):
        SameConv3d(2, 2, 2)
