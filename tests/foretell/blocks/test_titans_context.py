"""MAC: the equations written out, what the guard keeps from leaking, and streaming."""

import pytest
import torch
from torch.nn import functional

from foretell.blocks.protocol import cat_states, index_state
from foretell.blocks.titans_context import MemoryAsContext
from foretell.blocks.titans_naive import memory_as_context_naive

F64 = torch.float64
DIM, SEGMENT = 4, 3


def build(**options):
    torch.manual_seed(0)
    sizes = {"segment_size": SEGMENT, "num_persistent": 2} | options
    block = MemoryAsContext(DIM, 2, **sizes).double()
    with torch.no_grad():  # Fast enough a learner for h to matter.
        block.memory.gates.bias += torch.tensor([2.0, 0.0, 1.0], dtype=F64)
    return block


def inputs(batch, time, seed=1):
    return torch.randn(batch, time, DIM, generator=torch.Generator().manual_seed(seed), dtype=F64)


def close(a, b, atol=1e-11):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def network(weights, z):
    for place, w in enumerate(weights):
        z = (functional.silu(z) if place else z) @ w.T
    return z


def written(memory, u):
    """k, v and q of a whole sequence [time, dim], through torch's convolution."""
    mixed = functional.pad((u @ memory.project.weight.T).T, (memory.conv_width - 1, 0))[None]
    mixed = functional.conv1d(
        mixed, memory.conv_weight[:, None], memory.conv_bias, groups=len(mixed[0])
    )
    q, k, v = functional.silu(mixed[0].T).split(memory.memory_dim, -1)
    return k / k.norm(dim=-1, keepdim=True), v, q / q.norm(dim=-1, keepdim=True)


def brute_force(block, x):
    """One row [time, dim]: everything that has been is computed anew for every segment."""
    memory, attention = block.memory, block.attention
    M, S = list(memory.start), [torch.zeros_like(w) for w in memory.start]
    asked = written(memory, x)[2]
    ys, out = x[:0], []
    for begin in range(0, len(x), SEGMENT):
        c, at_start = x[begin : begin + SEGMENT], [w.detach().requires_grad_() for w in M]
        h = network(at_start, asked[begin : begin + SEGMENT])
        joined = torch.cat([attention.persistent, h, c])
        n, p = len(c), len(attention.persistent)
        below = torch.ones(n, n, dtype=torch.bool).tril()
        sees_h = below if block.causal_guard else torch.ones_like(below)
        seen = torch.cat([torch.ones(n, p, dtype=torch.bool), sees_h, below], 1)
        q, k, v = (
            z.unflatten(-1, (2, -1)).transpose(0, 1)
            for z in (attention.query(c), attention.key(joined), attention.value(joined))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        y = attention.output(mixed.transpose(0, 1).flatten(1)).detach()
        ys = torch.cat([ys, y])
        told = []
        gates = torch.sigmoid(memory.gates(y))
        read = [z[begin:].detach() for z in written(memory, ys)]
        read = list(zip(*read, gates, strict=True))
        for k_t, v_t, q_t, (alpha, eta, theta) in read:
            gradient = torch.autograd.grad((network(at_start, k_t) - v_t).square().sum(), at_start)
            S = [eta * s - theta * g for s, g in zip(S, gradient, strict=True)]
            M = [(1 - alpha) * m + s for m, s in zip(M, S, strict=True)]
            told.append(network(M, q_t))
        if not block.causal_guard:
            told = [network(M, q_t) for _, _, q_t, _ in read]
        out.append(y * torch.stack(told))
    return torch.cat(out).detach(), torch.cat([m.flatten() for m in M]).detach()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("causal_guard", [True, False])
@pytest.mark.parametrize("num_persistent", [0, 2])
def test_equals_the_equations(depth, causal_guard, num_persistent):
    block = build(depth=depth, causal_guard=causal_guard, num_persistent=num_persistent)
    x = inputs(2, 11)
    y, state = block(x)
    for row in range(2):
        expected, weights = brute_force(block, x[row])
        close(y[row], expected)
        close(state.memory.weights[row], weights)
    assert state.memory.position.tolist() == [11, 11]


@pytest.mark.parametrize("causal_guard", [True, False])
def test_segments_of_one_token(causal_guard):
    """Nothing is kept of a segment, and the guard has nothing to hide."""
    block, x = build(segment_size=1, causal_guard=causal_guard), inputs(2, 7)
    state = block.init_state(2)
    y, end = block(x)
    expected, naive_end = memory_as_context_naive(block, x, state)
    close(y, expected)
    close(end, naive_end)
    assert state.segment.keys.shape == (2, 0, 2 * DIM)
    close(y, build(segment_size=1)(x)[0])


def test_the_memory_matters():
    """What y is of a segment depends on the segments before it, through h."""
    block, x = build(), inputs(1, 9).requires_grad_()
    (grad,) = torch.autograd.grad(block(x)[0][:, 8].sum(), x)
    assert (grad[0].abs().amax(1) > 1e-9).all()


def reach(block, time=8):
    """[t, s]: y_t depends on x_s."""
    x = inputs(1, time).requires_grad_()
    y, _ = block(x)
    grads = [torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)[0][0] for t in range(time)]
    return torch.stack(grads).abs().amax(-1) > 0


def test_nothing_leaks_with_the_guard_and_the_rest_of_the_segment_without():
    guarded, literal = build(), build(causal_guard=False)
    assert guarded.causal and guarded.streamable
    assert not literal.causal and not literal.streamable
    steps = torch.arange(8)
    assert torch.equal(reach(guarded), steps <= steps[:, None])
    assert torch.equal(reach(literal), steps // SEGMENT <= steps[:, None] // SEGMENT)
    close(guarded(inputs(1, 1))[0], literal(inputs(1, 1))[0])
    with pytest.raises(NotImplementedError, match="causal_guard=False a token sees the rest"):
        literal.step(inputs(1, 1)[:, 0], literal.init_state(1))


@pytest.mark.parametrize("causal_guard", [True, False])
@pytest.mark.parametrize("segment_size", [1, 3, 16, 64])
def test_every_segment_size_equals_the_token_loop(segment_size, causal_guard):
    block, x = build(segment_size=segment_size, causal_guard=causal_guard), inputs(2, 70)
    with torch.no_grad():
        expected, _ = memory_as_context_naive(block, x, block.init_state(2))
        close(block(x)[0], expected)


@pytest.mark.parametrize("segment_size", [1, 3, 16, 64])
def test_rows_stand_at_positions_of_their_own(segment_size):
    """Carried states of several positions, ragged pieces and single tokens: all as the whole."""
    block, x = build(segment_size=segment_size), inputs(4, 17)
    whole, _ = block(x)
    begun, sizes = [0, 1, 5, 9], torch.tensor([17, 0, 6, 8])
    states = [block(x[row : row + 1, :at])[1] for row, at in enumerate(begun)]
    rest = torch.stack([torch.roll(x[row], -at, 0) for row, at in enumerate(begun)])
    state = cat_states(states)
    y, end = block(rest, state, lengths=sizes)
    for row, (at, size) in enumerate(zip(begun, sizes.tolist(), strict=True)):
        close(y[row, :size], whole[row, at : at + size])
        if size == 0:
            close(index_state(end, torch.tensor([row])), states[row], 0.0)
    for t in range(6):
        y_t, state = block.step(rest[:, t], state)
        close(y_t, torch.stack([whole[row, at + t] for row, at in enumerate(begun)]))


def test_a_literal_segment_in_pieces_sees_what_there_is():
    """The first piece cannot see the second; the second sees all of the segment."""
    block, x = build(causal_guard=False), inputs(1, 3)
    first, state = block(x[:, :2])
    second, end = block(x[:, 2:], state)
    whole, expected = block(x)
    assert not torch.allclose(first, whole[:, :2])
    assert second.shape == (1, 1, DIM) and torch.isfinite(second).all()
    assert end.memory.position.tolist() == expected.memory.position.tolist() == [3]
    close(block(x[:, :2], lengths=torch.tensor([2]))[0], first)


@pytest.mark.parametrize("causal_guard", [True, False])
def test_every_parameter_learns(causal_guard):
    block = build(causal_guard=causal_guard)
    block(inputs(2, 9))[0].square().sum().backward()
    for name, parameter in block.named_parameters():
        assert (parameter.grad != 0).any(), name


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="segment_size must be at least 1, got 0"):
        build(segment_size=0)
    with pytest.raises(ValueError, match="num_persistent must be at least 0, got -1"):
        build(num_persistent=-1)
    with pytest.raises(ValueError, match="num_heads must divide input_dim 4, got 3"):
        MemoryAsContext(DIM, 3)


def test_the_memorys_options_reach_it_and_its_reader():
    block = build(conv_width=None, silu=False, normalise=False)
    assert block.memory.conv_weight is None and not (block.memory.silu or block.memory.normalise)
    x = 0.3 * inputs(2, 7)
    state = block.init_state(2)
    y, end = block(x, state)
    close((y, end), memory_as_context_naive(block, x, state))
    outputs = []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        outputs.append(y_t)
    close((torch.stack(outputs, 1), state), (y, end))
