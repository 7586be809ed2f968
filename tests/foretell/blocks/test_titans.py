"""Titans' memory: by chunks against the token loop, and what its options promise."""

import pytest
import torch

from foretell.blocks.protocol import index_state
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_memory import (
    MemoryCarry,
    inner_gradient,
    titans_memory,
    titans_memory_step,
)
from foretell.blocks.titans_naive import titans_memory_naive, titans_naive

F64 = torch.float64
DIM = 3


def draw(*shape, seed, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def layers(depth, batch, *, seed, scale=0.3):
    widths = [DIM, *[4] * (depth - 1), DIM]
    pairs = zip(widths[1:], widths[:-1], strict=True)
    return tuple(scale * draw(batch, *pair, seed=seed + i) for i, pair in enumerate(pairs))


def problem(depth, batch, time, chunk_size, *, position=None):
    """Keys of norm 1, slow learning, momentum and chunk start that are neither 0 nor M."""
    q, k, v = (draw(batch, time, DIM, seed=seed) for seed in (1, 2, 3))
    gates = draw(batch, time, 3, seed=4) + torch.tensor([-3.0, 0.0, -4.0])
    position = torch.zeros(batch, dtype=torch.int64) if position is None else position
    weights = layers(depth, batch, seed=5)
    start = tuple(
        torch.where(position[:, None, None] % chunk_size == 0, w, other)
        for w, other in zip(weights, layers(depth, batch, seed=15), strict=True)
    )
    carry = MemoryCarry(weights, layers(depth, batch, seed=25, scale=0.1), start, position)
    return (q, k / k.norm(dim=-1, keepdim=True), v, gates), carry


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def loss_gradients(run, given, carry, **options):
    """Of y and of all of the final state, for every tensor that went in."""
    given = [t.clone().requires_grad_() for t in given]
    held = [tuple(t.clone().requires_grad_() for t in part) for part in carry[:2]]
    y, end = run(*given, carry._replace(weights=held[0], momentum=held[1]), **options)
    total = (y * torch.linspace(0.5, 1.5, y.numel(), dtype=F64).view_as(y)).sum()
    for place, tensor in enumerate(t for part in end[:3] for t in part):
        total = total + (place + 1.3) * tensor.square().sum()
    return torch.autograd.grad(total, [*given, *held[0], *held[1]])


@pytest.mark.parametrize("chunk_size", [1, 4, 8, 64])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_chunks_equal_the_token_loop(chunk_size, depth):
    given, carry = problem(depth, 2, 70, chunk_size)
    expected = titans_memory_naive(*given, carry, chunk_size=chunk_size)
    assert expected[0].abs().max() < 100
    for aligned in (True, False):
        options = {"chunk_size": chunk_size, "aligned": aligned}
        close(titans_memory(*given, carry, **options), expected)
    if depth < 3:
        both = [
            loss_gradients(run, given, carry, chunk_size=chunk_size)
            for run in (titans_memory, titans_memory_naive)
        ]
        close(*both, 1e-8)


@pytest.mark.parametrize("time", [1, 3, 4, 5, 8, 11])
def test_rows_stand_at_positions_of_their_own(time):
    given, carry = problem(2, 5, time, 4, position=torch.tensor([0, 1, 3, 6, 8]))
    y, end = titans_memory(*given, carry, chunk_size=4)
    close((y, end), titans_memory_naive(*given, carry, chunk_size=4))
    lengths = torch.tensor([time, 0, 1, time, time // 2])
    y, end = titans_memory(*given, carry, chunk_size=4, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        own = index_state(carry, torch.tensor([row]))
        if not length:
            close(index_state(end, torch.tensor([row])), own, 0.0)
            continue
        tokens = [t[row : row + 1, :length] for t in given]
        own_y, own_end = titans_memory_naive(*tokens, own, chunk_size=4)
        close((y[row, :length], index_state(end, torch.tensor([row]))), (own_y[0], own_end))


@pytest.mark.parametrize("chunk_size", [1, 4])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_step_is_the_rule_itself(chunk_size, depth):
    given, carry = problem(depth, 2, 9, chunk_size)
    y, end = titans_memory_naive(*given, carry, chunk_size=chunk_size)
    outputs = []
    for tokens in zip(*(t.unbind(1) for t in given), strict=True):
        y_t, carry = titans_memory_step(*tokens, carry, chunk_size=chunk_size)
        outputs.append(y_t)
    close((torch.stack(outputs, 1), carry), (y, end))


def test_a_matrix_memory_by_hand():
    """M_1 = (1 - a) M_0 + e S_0 + 2 r (v - M_0 k) k^T with a = e = r = 1/2, in one dimension."""
    one = torch.ones(1, 1, 1, dtype=F64)
    matrix, momentum, zero = (2 * one,), (4 * one,), torch.zeros(1, dtype=torch.int64)
    carry = MemoryCarry(matrix, momentum, matrix, zero)
    y, end = titans_memory(3 * one, one, 5 * one, torch.zeros(1, 1, 3, dtype=F64), carry,
                           chunk_size=1)  # fmt: skip
    close((end.momentum[0].item(), end.weights[0].item(), y.item()), (5.0, 6.0, 18.0))


def test_saturated_gates():
    """alpha = 1 forgets all but the momentum; theta = 0 writes nothing; nothing is NaN."""
    given, carry = problem(2, 1, 9, 4)
    for logits in ([60.0, -60.0, -60.0], [-200.0, 200.0, -200.0], [-1e4, -1e4, -1e4], [1e4, 0, -9]):
        tokens = (*given[:3], torch.tensor(logits, dtype=F64).expand(1, 9, 3))
        y, end = titans_memory(*tokens, carry, chunk_size=4)
        close((y, end), titans_memory_naive(*tokens, carry, chunk_size=4))
        grads = loss_gradients(titans_memory, tokens, carry, chunk_size=4)
        assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_fast_decay_does_not_blur_the_slow_ones_after_it():
    """In float32, with one log decay of -1e5 among decays of 1 %."""
    given, carry = problem(1, 1, 64, 64)
    gates = given[3].clone()
    gates[0, 5, 0] = 1e5
    expected = titans_memory_naive(*given[:3], gates, carry, chunk_size=64)[0]
    single = MemoryCarry(*(tuple(t.float() for t in part) for part in carry[:3]), carry.position)
    tokens = [t.float() for t in (*given[:3], gates)]
    y = titans_memory(*tokens, single, chunk_size=64)[0]
    close(y.double(), expected, 1e-5 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_inner_gradient_is_that_of_autograd(depth):
    given, carry = problem(depth, 2, 5, 1)
    weights = tuple(w.requires_grad_() for w in carry.weights)
    inputs, deltas = inner_gradient(weights, given[1], given[2])
    z = given[1]
    for place, w in enumerate(weights):
        z = (z * z.sigmoid() if place else z) @ w.mT
    expected = torch.autograd.grad((z - given[2]).square().sum(), weights)
    close(tuple(d.mT @ i for d, i in zip(deltas, inputs, strict=True)), expected)


def test_no_tensor_of_time_times_memory():
    """Saved for backward: nothing as large as [time, abs(M)]."""
    torch.manual_seed(0)
    block = TitansMemory(16, depth=2, hidden_dim=64, chunk_size=8)
    sizes = []

    def note(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        block(torch.randn(1, 64, 16))
    assert max(sizes) < 64 * 2 * 16 * 64 / 8


@pytest.mark.parametrize("options", [
    {}, {"chunk_size": 1}, {"depth": 2, "hidden_dim": 5, "chunk_size": 4},
])  # fmt: skip
def test_whole_in_pieces_and_by_token(options):
    torch.manual_seed(0)
    block = TitansMemory(DIM, 4, **options).double()
    x = draw(2, 41, DIM, seed=8)
    with torch.no_grad():
        whole = block(x)
        for pieces in ([1] * 41, [4] * 10 + [1], [3, 16, 0, 7, 15], [40, 1]):
            state, outputs = block.init_state(2), []
            for piece in x.split(pieces, 1):
                y, state = block(piece, state)
                outputs.append(y)
            close((torch.cat(outputs, 1), state), whole)
        state, outputs = block.init_state(2), []
        for x_t in x.unbind(1):
            y_t, state = block.step(x_t, state)
            outputs.append(y_t)
        close((torch.stack(outputs, 1), state), whole)
        close(titans_naive(block, x, block.init_state(2)), whole)
    assert not whole[0].requires_grad and state.position.tolist() == [41, 41]


def test_chunk_size_is_part_of_the_model():
    x, results = draw(1, 20, DIM, seed=8), []
    for chunk_size in (1, 4, 16):
        torch.manual_seed(0)
        block = TitansMemory(DIM, chunk_size=chunk_size).double()
        assert block.chunk_invariant == (chunk_size == 1)
        with torch.no_grad():
            block.gates.bias[2] = -2.0
        results.append(block(x)[0])
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_an_mlp_cannot_start_from_zero():
    with pytest.raises(ValueError, match="zero_start needs depth 1, got 2"):
        TitansMemory(DIM, depth=2, zero_start=True)
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        TitansMemory(DIM, chunk_size=0)
    block = TitansMemory(DIM, zero_start=True).double()
    assert not block.start[0].any()
    block(draw(2, 9, DIM, seed=8))[0].square().sum().backward()
    assert block.start[0].grad.abs().sum() > 0


@pytest.mark.parametrize("depth", [1, 2])
def test_gradient_reaches_the_start_and_every_projection(depth):
    torch.manual_seed(0)
    block = TitansMemory(DIM, 4, output_dim=2, depth=depth, chunk_size=4).double()
    block(draw(2, 9, DIM, seed=8))[0].square().sum().backward()
    for name, parameter in block.named_parameters():
        assert (parameter.grad != 0).any(), name
    for part in (*block.project.weight.grad.split(4), *block.gates.weight.grad.split(1)):
        assert (part != 0).any()


def test_it_stores_what_it_was_told():
    """Keys once, at random; then it answers each with its value better than M_0 does."""
    torch.manual_seed(0)
    keys = torch.eye(8, dtype=F64)[None]
    values = draw(1, 8, 8, seed=9)
    gates = torch.tensor([-20.0, -20.0, 0.0], dtype=F64).expand(1, 8, 3)
    zero = (torch.zeros(1, 8, 8, dtype=F64),)
    carry = MemoryCarry(zero, zero, zero, torch.zeros(1, dtype=torch.int64))
    _, end = titans_memory(keys, keys, values, gates, carry, chunk_size=4)
    close(keys @ end.weights[0].mT, values, 1e-6)


def test_keys_of_norm_one_keep_a_matrix_bounded():
    """Depth 1, chunk 1: a step of theta <= 1 never overshoots, so that 1e4 in is about 1e4 out."""
    torch.manual_seed(0)
    block = TitansMemory(DIM, chunk_size=1)
    x = (1e4 * draw(2, 65, DIM, seed=8, dtype=torch.float32).sign()).requires_grad_()
    y, _ = block(x)
    grads = torch.autograd.grad(y.sum(), [x, *block.parameters()])
    assert y.abs().max() < 1e6 and all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [1, 5, 16, 64])
@pytest.mark.parametrize("depth", [1, 2])
def test_every_length_in_both_precisions(chunk_size, depth):
    for time in (1, 2, 17, 37, 64, 65, 130):
        for batch in (1, 3):
            position = torch.arange(batch) * 7 + 3
            given, carry = problem(depth, batch, time, chunk_size, position=position)
            expected = titans_memory_naive(*given, carry, chunk_size=chunk_size)
            close(titans_memory(*given, carry, chunk_size=chunk_size), expected, 1e-9)
            single = MemoryCarry(*(tuple(t.float() for t in part) for part in carry[:3]), position)
            tokens = [t.float() for t in given]
            y, _ = titans_memory(*tokens, single, chunk_size=chunk_size)
            scale = max(1.0, float(expected[0].abs().max()))
            close(y.double(), expected[0], 1e-4 * scale)
