"""The norm: against torch's, and where squares overflow."""

import torch
from torch.nn import functional

from foretell.blocks.rms_norm import rms_norm


def test_equals_torch_with_its_gradient():
    torch.manual_seed(0)
    y = (10 * torch.randn(3, 5, 2, 8, dtype=torch.float64)).requires_grad_()
    weight = torch.randn_like(y)
    for eps in (1e-5, 0.3):
        pair = rms_norm(y, eps), functional.rms_norm(y, (8,), eps=eps)
        torch.testing.assert_close(*pair, rtol=0, atol=1e-12)
        grads = [torch.autograd.grad((out * weight).sum(), y)[0] for out in pair]
        torch.testing.assert_close(*grads, rtol=0, atol=1e-12)


def test_zeros_and_huge_values():
    y = torch.tensor([[0.0, 0.0], [3e30, -4e30], [1e-30, 0.0]], requires_grad=True)
    normed = rms_norm(y[:, None], 1e-5)[:, 0]
    torch.testing.assert_close(normed[1], torch.tensor([0.6, -0.8]) * 2**0.5)
    assert torch.equal(normed[0], torch.zeros(2))
    (grad,) = torch.autograd.grad(normed[:, 0].sum(), y)
    assert torch.isfinite(grad).all()
