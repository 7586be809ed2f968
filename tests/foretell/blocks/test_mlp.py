import torch

from foretell.blocks.mlp import mlp, softplus, softplus_in_place


def test_softplus_in_place_equals_softplus():
    x = torch.linspace(-2, 2, 201, dtype=torch.float64, requires_grad=True)
    expected = softplus(x, 100.0)
    got = softplus_in_place(x * 1, 100.0)
    grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in (expected, got)]
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-13, atol=1e-300)


def test_mlp_layers():
    assert [type(m).__name__ for m in mlp([2, 3, 1])] == ["Linear", "ReLU", "Linear"]
    assert len(mlp([2, 3], last_activation=True)) == 2
