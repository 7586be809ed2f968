"""The halved convolution is torch's conv3d, values and gradients."""

import pytest
import torch
from torch.nn import functional

import foretell.blocks.conv3d as module
from foretell.blocks.conv3d import SameConv3d, conv3d, conv3d_halved


@pytest.mark.parametrize("width", [1, 6, 7])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_halved_equals_conv3d(depth: int, kernel: int, width: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, depth, 6, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, kernel, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(2, 4, depth, 6, width, dtype=torch.float64)
    expected = functional.conv3d(x, weight, bias, padding=kernel // 2)
    result = conv3d_halved(x, weight, bias)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(result, (x, weight, bias), cotangent),
        torch.autograd.grad(expected, (x, weight, bias), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_one_cell_deep_equals_conv3d(kernel: int) -> None:
    torch.manual_seed(0)
    shapes = ((2, 3, 1, 6, 7), (4, 3, kernel, kernel, kernel), (4,))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    expected = functional.conv3d(*inputs, padding=kernel // 2)
    found = conv3d(*inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn(expected.shape, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 5, 8, 11, 15, 16])
def test_bfloat16_volumes(depth: int, channels: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, channels, depth, 2, 3), torch.randn(6, channels, 3, 3, 3)
    exact = functional.conv3d(x, weight, padding=1)
    found = conv3d(x.bfloat16(), weight.bfloat16()).float()
    torch.testing.assert_close(found, exact, rtol=0, atol=0.02 * exact.abs().max().item())


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_float32_volumes_of_any_batch(batch: int) -> None:
    torch.manual_seed(0)
    layer = SameConv3d(3, 4)
    x = torch.randn(batch, 3, 2, 5, 7)
    exact = functional.conv3d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)
    torch.testing.assert_close(layer(x).double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "size", "halved"), [(1, 2, False), (1, 24, True), (2, 24, False)]
)
def test_only_a_single_volume_worth_it_is_cut(batch, size, halved, monkeypatch) -> None:
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return conv3d_halved(*arguments)

    monkeypatch.setattr(module, "conv3d_halved", spy)
    torch.manual_seed(0)
    x, weight = torch.randn(batch, 16, 2, size, size), torch.randn(16, 16, 3, 3, 3)
    expected = functional.conv3d(x.double(), weight.double(), padding=1)
    torch.testing.assert_close(conv3d(x, weight).double(), expected, rtol=0, atol=1e-3)
    assert bool(calls) == halved


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd, got 2"):
        SameConv3d(2, 2, 2)
