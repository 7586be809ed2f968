"""The causal convolution: against torch's, in pieces, with resets and lengths."""

import pytest
import torch
from torch.nn import functional

from foretell.blocks.causal_conv import causal_conv

F64 = torch.float64


def make(width, time=11):
    torch.manual_seed(0)
    return (
        torch.randn(2, time, 3, dtype=F64, requires_grad=True),
        torch.randn(2, 3, width - 1, dtype=F64, requires_grad=True),
        torch.randn(3, width, dtype=F64, requires_grad=True),
        torch.randn(3, dtype=F64, requires_grad=True),
    )


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("time", [1, 2, 11])
def test_equals_torch_with_its_gradients(width, time):
    u, before, weight, bias = sources = make(width, time)
    y, last = causal_conv(u, before, weight, bias)
    joined = torch.cat([before, u.transpose(1, 2)], 2)
    expected = functional.conv1d(joined, weight[:, None], bias, groups=3).transpose(1, 2)
    close(y, expected)
    close(last, joined[..., time:])
    grads = [torch.autograd.grad(out.square().sum(), sources) for out in (y, expected)]
    for a, b in zip(*grads, strict=True):
        close(a, b)
    close(causal_conv(u, before, weight, None)[0], expected - bias)


def test_pieces_resets_and_lengths():
    u, before, weight, bias = make(4)
    segment = torch.zeros(2, 11, dtype=torch.int64)
    segment[0, 5:], segment[1, 2:], segment[1, 3:] = 1, 1, 2
    lengths = torch.tensor([11, 4])
    y, last = causal_conv(u, before, weight, bias, segment=segment, lengths=lengths)
    zero = torch.zeros_like(before[:1])
    pieces = [(0, 0, 5, before[:1]), (0, 5, 11, zero), (1, 0, 2, before[1:]), (1, 2, 3, zero)]
    for row, start, stop, state in [*pieces, (1, 3, 4, zero)]:
        own, end = causal_conv(u[row : row + 1, start:stop], state, weight, bias)
        close(y[row, start:stop], own[0])
        if stop == lengths[row]:
            close(last[row], end[0])
    _, same = causal_conv(u, before, weight, bias, lengths=torch.tensor([0, 0]))
    assert torch.equal(same, before)
