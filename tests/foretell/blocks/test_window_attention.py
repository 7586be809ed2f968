"""Sliding-window attention: against one masked softmax over all pairs."""

import pytest
import torch
from torch.nn import functional

from foretell.blocks.window_attention import SlidingWindowAttention

F64 = torch.float64
DIM = 4


def build(**options):
    torch.manual_seed(0)
    return SlidingWindowAttention(DIM, 2, **options).double()


def inputs(batch, time, seed=1):
    return torch.randn(batch, time, DIM, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("window", [1, 2, 5, 64])
@pytest.mark.parametrize("num_persistent", [0, 3])
@pytest.mark.parametrize("time", [1, 5, 17])
def test_equals_one_masked_softmax(window, num_persistent, time):
    block, x = build(window=window, num_persistent=num_persistent), inputs(2, time)
    joined = torch.cat([block.persistent.expand(2, -1, -1), x], 1)
    q, k, v = (
        part.unflatten(-1, (2, -1)).transpose(1, 2)
        for part in (block.query(x), block.key(joined), block.value(joined))
    )
    t, j = torch.arange(time)[:, None], torch.arange(time)
    seen = functional.pad((j <= t) & (j > t - window), (num_persistent, 0), value=True)
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    expected = block.output(attended.transpose(1, 2).flatten(2))
    torch.testing.assert_close(block(x)[0], expected, rtol=0, atol=1e-12)


def test_what_left_the_window_is_forgotten():
    block, x = build(window=3), inputs(1, 9).requires_grad_()
    (grad,) = torch.autograd.grad(block(x)[0][:, 8].sum(), x)
    assert torch.count_nonzero(grad[:, :6]) == 0 and (grad[:, 6:] != 0).any(-1).all()


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="num_heads must divide input_dim 4, got 3"):
        SlidingWindowAttention(DIM, 3)
    with pytest.raises(ValueError, match="window must be at least 1"):
        SlidingWindowAttention(DIM, 2, window=0)
