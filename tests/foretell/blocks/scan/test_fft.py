"""Causal convolution by transforms against the double loop and a Toeplitz matrix."""

import pytest
import torch

from foretell.blocks.scan import naive
from foretell.blocks.scan.fft import fft_conv

LENGTHS = (0, 1, 2, 17, 37, 64, 65)
F64 = torch.float64


def make_inputs(batch, time, outputs=(), *, taps=None, dim=2):
    generator = torch.Generator().manual_seed(time)
    kernel = (dim, *outputs, time if taps is None else taps)
    return {
        "K": torch.randn(kernel, generator=generator, dtype=F64),
        "u": torch.randn(batch, time, dim, generator=generator, dtype=F64),
    }


@pytest.mark.parametrize("time", LENGTHS)
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_equals_loop(time, outputs, assert_same):
    batch = (1, 3)[(time + len(outputs)) % 2]
    assert_same(fft_conv, naive.fft_conv, make_inputs(batch, time, outputs))


@pytest.mark.parametrize("taps", [1, 5, 30])
def test_kernel_may_be_shorter_or_longer(taps, assert_same):
    assert_same(fft_conv, naive.fft_conv, make_inputs(2, 17, (2,), taps=taps))


def test_long_sequence_equals_toeplitz_product():
    """130 and 1100 steps, values and gradients."""
    for time in (130, 1100):
        inputs = make_inputs(1, time, dim=1)
        K, u = inputs["K"].requires_grad_(), inputs["u"].requires_grad_()
        lag = torch.arange(time)[:, None] - torch.arange(time)
        toeplitz = K[0, lag.clamp(min=0)].masked_fill(lag < 0, 0)
        y, expected = fft_conv(K, u), (toeplitz @ u[0])[None]
        torch.testing.assert_close(y, expected, atol=1e-9, rtol=0)
        seen = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        grads = torch.autograd.grad((y * seen).sum(), [K, u])
        references = torch.autograd.grad((expected * seen).sum(), [K, u])
        torch.testing.assert_close(grads, references, atol=1e-8, rtol=0)


def test_loop_by_hand():
    K = torch.tensor([[1.0, 10.0, 100.0]], dtype=F64)
    u = torch.tensor([[[1.0], [2.0], [3.0]]], dtype=F64)
    assert naive.fft_conv(K, u).flatten().tolist() == [1.0, 12.0, 123.0]


def test_output_is_causal():
    inputs = make_inputs(1, 37)
    u = inputs["u"].requires_grad_()
    (grad,) = torch.autograd.grad(fft_conv(inputs["K"], u)[:, 11].sum(), u)
    assert grad[:, 12:].abs().max() <= 1e-12 and grad[:, :12].all()


def test_float32():
    inputs = make_inputs(2, 65, (2,))
    expected = naive.fft_conv(**inputs)
    value = fft_conv(**{k: v.float() for k, v in inputs.items()})
    assert value.dtype == torch.float32
    assert (value - expected).abs().max() <= 1e-4 * float(expected.abs().max())


def test_gradcheck():
    assert torch.autograd.gradcheck(
        fft_conv, [v.requires_grad_() for v in make_inputs(1, 5, (2,)).values()]
    )
