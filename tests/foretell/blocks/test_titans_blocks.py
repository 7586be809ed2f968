"""MAG and MAL: the equations over [P ; x], written out from the parts."""

import pytest
import torch

from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_naive import memory_as_gate_naive, memory_as_layer_naive

F64 = torch.float64
DIM, TOKENS = 4, 3


def build(kind, **options):
    torch.manual_seed(0)
    sizes = {"window": 5, "num_persistent": TOKENS, "chunk_size": 4, "depth": 2} | options
    return kind(DIM, 2, **sizes).double()


def inputs(batch, time, seed=1):
    return torch.randn(batch, time, DIM, generator=torch.Generator().manual_seed(seed), dtype=F64)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def normed(z):
    return z / (z.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_memory_as_gate():
    """o = norm(y) (x) sigma(norm(M([P ; x]))), P seen by every step."""
    block, x = build(MemoryAsGate), inputs(2, 11)
    with torch.no_grad():
        block.memory_scale.copy_(torch.randn(DIM, dtype=F64))
        block.attention_scale.copy_(torch.randn(DIM, dtype=F64))
    joined = torch.cat([block.attention.persistent.expand(2, -1, -1), x], 1)
    told = block.memory(joined)[0][:, TOKENS:]
    y = block.attention(x)[0]
    gate = torch.sigmoid(normed(told) * block.memory_scale)
    close(block(x)[0], normed(y) * block.attention_scale * gate)


def test_memory_as_layer():
    """o = attention of M([P ; x]), of which the steps of x are given out."""
    block, x = build(MemoryAsLayer), inputs(2, 11)
    joined = torch.cat([block.persistent.expand(2, -1, -1), x], 1)
    close(block(x)[0], block.attention(block.memory(joined)[0])[0][:, TOKENS:])


@pytest.mark.parametrize("chunk_size", [1, 4, 16, 64])
@pytest.mark.parametrize(
    ("kind", "naive"),
    [(MemoryAsGate, memory_as_gate_naive), (MemoryAsLayer, memory_as_layer_naive)],
)
def test_every_chunk_size_equals_the_token_loop(kind, naive, chunk_size):
    block, x = build(kind, chunk_size=chunk_size), inputs(2, 70)
    with torch.no_grad():
        expected, _ = naive(block, x, block.init_state(2))
        close(block(x)[0], expected)
        _, state = block(x[:, :68])
        for t in (68, 69):
            y_t, state = block.step(x[:, t], state)
            close(y_t, expected[:, t])


@pytest.mark.parametrize("kind", [MemoryAsGate, MemoryAsLayer])
def test_no_persistent_tokens(kind):
    block, x = build(kind, num_persistent=0), inputs(2, 9)
    y, state = block(x)
    assert state.memory.position.tolist() == [9, 9]
    outputs, state = [], block.init_state(2)
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        outputs.append(y_t)
    close(torch.stack(outputs, 1), y)
    with pytest.raises(ValueError, match="num_persistent must be at least 0, got -1"):
        build(kind, num_persistent=-1)


@pytest.mark.parametrize("kind", [MemoryAsGate, MemoryAsLayer])
def test_every_parameter_learns(kind):
    block = build(kind)
    block(inputs(2, 9))[0].square().sum().backward()
    for name, parameter in block.named_parameters():
        assert not parameter.numel() or (parameter.grad != 0).any(), name
