import pytest
import torch

from foretell.blocks.broadcast_conv import (
    conv3d_of_repeated,
    conv3d_with_repeated,
    conv3d_with_repeated_naive,
)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 5), (2, 4, 3), (5, 6, 7)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equals_concatenation_with_gradients(shape, kernel):
    """T16, part c: every border, 1e-12 in float64, values and gradients."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = (draw(2, 3, *shape), draw(2, 4), draw(6, 7, kernel, kernel, kernel), draw(6))
    direction = draw(2, 6, *shape).detach()
    results = []
    for form in (conv3d_with_repeated, conv3d_with_repeated_naive):
        out = form(*inputs)
        results.append([out, *torch.autograd.grad((out * direction).sum(), inputs)])
    for fast, naive in zip(*results, strict=True):
        torch.testing.assert_close(fast, naive, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_float32_difference(depth):
    """T16, part c: 2e-6 relative in float32, values and gradients."""
    generator = torch.Generator().manual_seed(1)

    def draw(*size):
        return torch.randn(*size, generator=generator, requires_grad=True)

    inputs = (draw(1, 8, depth, 9, 9), draw(1, 4), draw(8, 12, 3, 3, 3), draw(8))
    direction = draw(1, 8, depth, 9, 9).detach()
    results = []
    for form in (conv3d_with_repeated, conv3d_with_repeated_naive):
        out = form(*inputs)
        results.append([out, *torch.autograd.grad((out * direction).sum(), inputs)])
    for fast, naive in zip(*results, strict=True):
        assert (fast - naive).norm() <= 2e-6 * naive.norm()


def test_interior_is_one_vector():
    out = conv3d_of_repeated(torch.ones(1, 1), torch.ones(1, 1, 3, 3, 3), (4, 5, 6))
    assert (out[0, 0, 1:-1, 1:-1, 1:-1] == 27).all()
    assert out[0, 0, 0, 0, 0] == 8
