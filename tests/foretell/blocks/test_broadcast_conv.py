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


def test_float32_difference():
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(1, 8, 5, 9, 9, generator=generator)
    vector = torch.randn(1, 4, generator=generator)
    weight = torch.randn(8, 12, 3, 3, 3, generator=generator)
    fast = conv3d_with_repeated(volume, vector, weight, None)
    naive = conv3d_with_repeated_naive(volume, vector, weight, None)
    assert (fast - naive).norm() / naive.norm() < 2e-6


def test_interior_is_one_vector():
    out = conv3d_of_repeated(torch.ones(1, 1), torch.ones(1, 1, 3, 3, 3), (4, 5, 6))
    assert (out[0, 0, 1:-1, 1:-1, 1:-1] == 27).all()
    assert out[0, 0, 0, 0, 0] == 8
