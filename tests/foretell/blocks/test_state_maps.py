"""Learned maps into and out of a state: shapes, meaning, gradients, and what they refuse."""

import pytest
import torch
from torch.utils import _pytree

from foretell.blocks.lssl import LSSL
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.prefix_attention import PrefixLinearAttention, taylor_features
from foretell.blocks.s4d import S4D
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext

DIM = 4
MAKERS = {
    "lssl": lambda **o: LSSL(DIM, 3, **o),
    "lssl_fixed": lambda **o: LSSL(DIM, 3, trainable=False, **o),
    "s4d": lambda **o: S4D(DIM, 6, **o),
    "mamba2": lambda **o: Mamba2(DIM, 3, head_dim=2, **o),
    "mamba2_window": lambda **o: Mamba2(DIM, 3, head_dim=2, window=5, **o),
    "mamba2_channel": lambda **o: Mamba2(DIM, 3, head_dim=2, per_channel=True, **o),
    "mamba2_norm": lambda **o: Mamba2(DIM, 3, head_dim=2, max_state_norm=0.1, **o),
    "prefix_attention": lambda **o: PrefixLinearAttention(DIM, 2, feature_dim=2, **o),
    "titans": lambda **o: TitansMemory(DIM, chunk_size=3, **o),
    "titans_tokens": lambda **o: TitansMemory(DIM, depth=2, chunk_size=1, **o),
}
BLOCKS = pytest.mark.parametrize("name", MAKERS)


def build(name, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return MAKERS[name](**options).to(dtype)


def draw(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@BLOCKS
def test_a_seed_is_the_flattened_state(name):
    block, h = build(name, seed_dim=5), draw(3, 5)
    state, start = block.seed_state(h), block.init_state(3)
    fields = [getattr(state, field) for field in block.mapped_fields]
    torch.testing.assert_close(torch.cat([t.flatten(1) for t in fields], 1), block.seed(h))
    for one, other in zip(_pytree.tree_leaves(state), _pytree.tree_leaves(start), strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
    if name.startswith("mamba2"):
        assert torch.equal(state.position, start.position)
        assert all(torch.equal(a, b) for a, b in zip(state.recent, start.recent, strict=True))


@BLOCKS
def test_gradient_reaches_the_seed_through_steps_and_summary(name):
    block = build(name, seed_dim=5, readout_dim=2)
    h, x = draw(3, 5).requires_grad_(), draw(3, 4, DIM).requires_grad_()
    y, end = block(x, block.seed_state(h))
    summary = block.readout(end)
    assert summary.shape == (3, 2)
    for value in (y[:, 2], summary):
        of_h, of_x, of_seed = torch.autograd.grad(
            value.square().sum(), [h, x, block.seed.weight], retain_graph=True
        )
        assert all(torch.isfinite(g).all() for g in (of_h, of_x, of_seed))
        assert of_h.count_nonzero() == h.numel() and of_seed.any() and of_x.any()
    state = block.seed_state(h)
    looped = []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        looped.append(y_t)
    torch.testing.assert_close(torch.stack(looped, 1), y, rtol=0, atol=1e-9)
    torch.testing.assert_close(block.readout(state), summary, rtol=0, atol=1e-9)
    assert torch.autograd.gradcheck(lambda g: block(x, block.seed_state(g))[0], (h,), atol=1e-6)


@BLOCKS
def test_maps_exist_only_when_asked_for_and_change_nothing_else(name):
    plain, mapped = build(name), build(name, seed_dim=5, readout_dim=2)
    extra = {f"{part}.{kind}" for part in ("seed", "summary") for kind in ("weight", "bias")}
    assert set(mapped.state_dict()) == set(plain.state_dict()) | extra
    mapped.load_state_dict(plain.state_dict(), strict=False)
    x = draw(2, 7, DIM)
    assert torch.equal(plain(x)[0], mapped(x)[0])
    with pytest.raises(ValueError, match="make it with seed_dim"):
        plain.seed_state(draw(1, 5))
    with pytest.raises(ValueError, match="make it with readout_dim"):
        plain.readout(plain.init_state(1))
    with pytest.raises(ValueError, match="seed must have width 5, got 4"):
        mapped.seed_state(draw(1, 4))
    first = []
    for _ in range(2):
        torch.manual_seed(3)
        mapped.reset_parameters()
        first.append([p.detach().clone() for p in mapped.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*first, strict=True))
    assert not torch.equal(mapped.seed.weight, build(name, seed_dim=5).seed.weight)


@BLOCKS
def test_low_precision_keeps_the_state_wide(name):
    block = build(name, torch.bfloat16, seed_dim=5, readout_dim=2)
    state = block.seed_state(draw(3, 5).bfloat16())
    leaves = [t for t in _pytree.tree_leaves(state) if t.is_floating_point()]
    assert leaves and all(t.dtype == torch.float32 for t in leaves)
    assert block.readout(state).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: LSSL(2001, 500, **o),
        lambda **o: S4D(2001, 500, **o),
        lambda **o: Mamba2(1001, 500, head_dim=2, **o),
        lambda **o: PrefixLinearAttention(2, 1, feature_dim=70, head_dim=220, **o),
        lambda **o: TitansMemory(4, 710, **o),
        lambda **o: MemoryAsGate(710, 1, depth=1, **o),
    ],
)
@pytest.mark.parametrize("option", ["seed_dim", "readout_dim"])
def test_large_states_have_no_map(make, option):
    with pytest.raises(ValueError, match=f"{option} needs a state of at most 1000000 numbers"):
        make(**{option: 1})


def test_a_seed_of_prefix_attention_is_a_token_with_the_key_zero():
    block, h, x = build("prefix_attention", seed_dim=5), draw(1, 5), draw(1, 1, DIM)
    state = block.seed_state(h)

    def heads(part):
        return part(x[0, 0]).view(2, -1)

    q, k, v = heads(block.query), heads(block.key), heads(block.value)
    weight = (taylor_features(q) * taylor_features(k)).sum(-1, keepdim=True)
    above = (taylor_features(q)[:, None] @ state.s[0])[:, 0] + weight * v
    expected = block.output((above / (1 + weight)).flatten())  # phi(q) Z = 1 at the start
    torch.testing.assert_close(block(x, state)[0][0, 0], expected)


def test_the_summary_of_prefix_attention_does_not_grow_with_time():
    block, x = build("prefix_attention", readout_dim=2), draw(2, 3, DIM)
    assert torch.equal(block.readout(block.init_state(2)), block.summary.bias.expand(2, -1))
    once, repeated = (block(x.repeat(1, times, 1))[1] for times in (1, 50))
    torch.testing.assert_close(block.readout(repeated), block.readout(once))


def test_the_summary_of_a_windowed_mamba2_forgets():
    block, x = build("mamba2_window", readout_dim=2), draw(2, 20, DIM)
    _, end = block(x)
    other = x.clone()
    other[:, :12] += 1  # 5 inputs of the window and 3 of the convolution remain
    torch.testing.assert_close(block.readout(block(other)[1]), block.readout(end))
    other[:, 15:] += 1
    assert not torch.allclose(block.readout(block(other)[1]), block.readout(end))


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: MemoryAsContext(DIM, 2, segment_size=3, **o),
        lambda **o: MemoryAsGate(DIM, 2, window=3, chunk_size=3, **o),
        lambda **o: MemoryAsLayer(DIM, 2, window=3, chunk_size=3, **o),
    ],
    ids=["context", "gate", "layer"],
)
def test_titans_beside_attention_starts_from_the_seed_of_its_memory(make):
    torch.manual_seed(0)
    block = make(seed_dim=5, readout_dim=2).double()
    h, x = draw(3, 5).requires_grad_(), draw(3, 4, DIM)
    y, end = block(x, block.seed_state(h))
    (of_h,) = torch.autograd.grad(y[:, 2].square().sum(), h, retain_graph=True)
    assert of_h.count_nonzero() == h.numel()
    state = block.seed_state(h)
    looped = []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        looped.append(y_t)
    torch.testing.assert_close(torch.stack(looped, 1), y, rtol=0, atol=1e-9)
    numbers = torch.cat([end.memory.weights, end.memory.momentum], 1)
    torch.testing.assert_close(block.readout(end), block.memory.summary(numbers))
    for row in range(3):  # rows do not see each other
        alone, _ = block(x[row : row + 1], block.seed_state(h[row : row + 1]))
        torch.testing.assert_close(alone[0], y[row], rtol=0, atol=1e-9)
    # A seed that maps to the learned start is the learned start.
    with torch.no_grad():
        block.memory.seed.weight.zero_()
        start = torch.cat([weight.flatten() for weight in block.memory.start])
        block.memory.seed.bias.copy_(torch.cat([start, torch.zeros_like(start)]))
    torch.testing.assert_close(block(x, block.seed_state(h))[0], block(x)[0], rtol=0, atol=1e-9)
    plain = make().double()
    with pytest.raises(ValueError, match="make it with seed_dim"):
        plain.seed_state(h)
    with pytest.raises(ValueError, match="make it with readout_dim"):
        plain.readout(end)
