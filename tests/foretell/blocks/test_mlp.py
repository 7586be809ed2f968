import pytest
import torch
from torch import nn

from foretell.blocks.mlp import mlp, softplus_mlp, softplus_mlp_naive


@pytest.mark.parametrize("rows", [0, 1, 5000])
@pytest.mark.parametrize("tap", [0, 1, 2])
def test_softplus_mlp_equals_naive(rows, tap):
    """Several tiles, values and gradients; the tapped layer with and without gradient."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(3, 1)]
    layers = [layer.double() for layer in layers]
    first = torch.randn(rows, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    sources = [first, *(p for layer in layers for p in layer.parameters())]
    for share in (0.0, 1.0):
        results = []
        for form in (softplus_mlp, softplus_mlp_naive):
            tapped, out = form(first, layers, beta=100.0, tap=tap)
            total = out.square().sum() + (share * tapped.sum() if share else 0)
            grads = torch.autograd.grad(total, sources)
            results.append([tapped, out, *grads])
        for fast, naive in zip(*results, strict=True):
            torch.testing.assert_close(fast, naive, rtol=1e-11, atol=1e-11)


def test_softplus_mlp_gradcheck():
    layers = [nn.Linear(2, 3).double(), nn.Linear(3, 1).double()]
    first = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: softplus_mlp(x, layers, beta=5.0, tap=1), first)


def test_mlp_layers():
    assert [type(m).__name__ for m in mlp([2, 3, 1])] == ["Linear", "ReLU", "Linear"]
    assert len(mlp([2, 3], last_activation=True)) == 2
