"""Every sequence block at its extremes, and its state, types and copies (T9-T11, T13)."""

import copy
import pickle

import pytest
import torch
from mixer_cases import (
    BOUNDED,
    CASES,
    DIM,
    STREAMABLE,
    build,
    cases,
    gradients,
    initial,
    inputs,
    leaf_state,
    loop,
    random_state,
    same,
    start,
)
from torch.utils import _pytree

from foretell.blocks.protocol import detach_state, state_numel, state_to

# A descent along keys that are not normalised, or by an MLP of two layers, diverges on some inputs.
OVERFLOW = {("titans_plain", 1e4), ("titans_plain", -1e4), ("titans_gate", 1e4),
            ("titans_context", 1e4)}  # fmt: skip


def extreme(case, scale, batch, time):
    return scale * inputs(case, batch, time, torch.float32).sign()


@cases(CASES)
@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (2, 65)])
def test_t9_extreme_inputs_stay_finite(case, scale, batch, time):
    """From the initial state and from another; gradients of all that goes in."""
    if time > 1 and (case.name, scale) in OVERFLOW:
        scale /= 1e4
    block, x = build(case, torch.float32), extreme(case, scale, batch, time).requires_grad_()
    for state, fields in ((start(case, block, batch), []), leaf_state(case, block, batch)):
        y, end = block(x, state)
        grads = gradients(block, y, end, [x, *block.parameters(), *fields])
        assert all(torch.isfinite(t).all() for t in _pytree.tree_leaves((y, end, grads)))


@cases([case for case in CASES if case.name in dict(OVERFLOW)])
@torch.no_grad()
def test_t9_what_is_left_out_overflows_in_the_float64_oracle_too(case):
    """A gradient squares the state: beyond 1e19 it is beyond float32."""
    block = build(case)
    for scale in (scale for name, scale in OVERFLOW if name == case.name):
        state, largest = initial(case, block, 2), 0.0
        for x_t in extreme(case, scale, 2, 65).double().unbind(1):
            _, state = case.naive(block, x_t[:, None], state)
            fields = [t for t in _pytree.tree_leaves(state) if t.numel()]
            largest = max(largest, *(t.abs().max().item() for t in fields))
        assert largest > torch.finfo(torch.float32).max ** 0.5


@cases(CASES)
def test_t10_states_are_never_changed(case):
    block, x = build(case), inputs(case, 2, 9).requires_grad_()
    state, fields = leaf_state(case, block, 2)
    leaves = [x, *_pytree.tree_leaves(state)]
    before = [(t._version, t.detach().clone()) for t in leaves]
    y, end = block(x, state)
    gradients(block, y, end, [x, *fields])
    again, _ = block(x, state)
    assert torch.equal(y, again)
    if block.streamable:
        block.step(x[:, 0], state)
    for tensor, (version, value) in zip(leaves, before, strict=True):
        assert tensor._version == version and torch.equal(tensor, value)
    cut = detach_state(end)
    assert not any(t.requires_grad for t in _pytree.tree_leaves(cut))


@cases(CASES)
def test_t11_housekeeping(case):
    block, x = build(case, torch.float32), inputs(case, 2, 33, torch.float32)
    begin = start(case, block, 2)
    y, end = block(x, begin)
    y = y.detach()
    twin = build(case, torch.float32)
    twin.load_state_dict(block.state_dict())
    for other in (twin, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(x, begin)[0], y)
    torch.manual_seed(3)
    block.reset_parameters()
    first = [p.detach().clone() for p in block.parameters()]
    torch.manual_seed(3)
    block.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(first, block.parameters(), strict=True))
    assert str(block) and block.extra_repr()

    low = copy.deepcopy(twin).bfloat16()
    rounded, state = low(x.bfloat16(), begin)
    assert rounded.dtype == torch.bfloat16
    fields = [t for t in _pytree.tree_leaves(state) if t.is_floating_point()]
    assert fields and all(t.dtype == torch.float32 for t in fields)
    torch.testing.assert_close(
        rounded.float(), y, rtol=0, atol=3e-2 * max(1.0, y.abs().max().item())
    )
    with torch.autocast("cpu", torch.bfloat16):
        half, state = twin(x, begin)
    assert half.dtype == torch.float32
    fields = [t for t in _pytree.tree_leaves(state) if t.is_floating_point()]
    assert all(t.dtype == torch.float32 for t in fields)
    torch.testing.assert_close(half, y, rtol=0, atol=3e-2 * max(1.0, y.abs().max().item()))
    moved = state_to(end, dtype=torch.float64)
    assert all(
        t.dtype == torch.float64 for t in _pytree.tree_leaves(moved) if t.is_floating_point()
    )


@cases(BOUNDED)
def test_t13_the_state_does_not_grow(case):
    block, x = build(case, torch.float32), inputs(case, 1, 256, torch.float32)
    with torch.no_grad():
        _, state = block(x[:, :3], start(case, block, 1))
        size = state_numel(state)
        for _ in range(4):
            y, state = block(x, state)
    assert state_numel(state) == size and y.grad_fn is None


MANY, STEPS, PIECE = 1_000_000, 10_000, 1_024
# Loops over single steps or segments take minutes: of the options of a block one case goes all the
# way, these go a tenth of it.
FEWER = {"conv_gru_after", "conv_gru_vector", "conv_lstm_vector", "conv_recurrence_plain",
         "cellwise_mamba2", "mamba2_norm", "sparse_tanh", "sparse_relu", "sparse_gru",
         "stack_bidirectional", "titans", "titans_deep", "titans_gate_plain", "titans_context",
         "titans_context_plain", "titans_context_literal"}  # fmt: skip


@pytest.mark.soak
@cases(BOUNDED)
@torch.no_grad()
def test_t13_a_million_steps_keep_memory_constant(case, constant_memory):
    block, x = build(case, torch.float32), inputs(case, 1, PIECE, torch.float32)
    begin, many = initial(case, block, 1), MANY // 10 if case.name in FEWER else MANY
    state = constant_memory(lambda now: block(x, now)[1], begin, many // PIECE, warm=16)
    y, _ = block(x[:, : many % PIECE], state)
    assert y.grad_fn is None and torch.isfinite(y).all()


@pytest.mark.soak
@cases([case for case in BOUNDED if case in STREAMABLE])
@torch.no_grad()
def test_t13_ten_thousand_steps_keep_memory_constant_and_agree(case, constant_memory):
    block, x = build(case), inputs(case, 1, STEPS // 10)
    begin = initial(case, block, 1)
    state = constant_memory(lambda now: loop(block, x, now)[1], begin, 9, warm=2)
    y, state = loop(block, x, state)
    expected = begin
    for _ in range(10):
        expected_y, expected = block(x, expected)
    same((y, state), (expected_y, expected), {"rtol": 1e-6, "atol": 1e-6})


def test_t13_a_case_of_every_block_takes_a_million_steps():
    kinds = {type(case.make()) for case in BOUNDED}
    assert kinds == {type(case.make()) for case in BOUNDED if case.name not in FEWER}
    assert FEWER <= {case.name for case in BOUNDED}


@cases(CASES)
def test_empty_sequences_and_wrong_lengths(case):
    block = build(case)
    state = random_state(case, block, 2)
    y, end = block(inputs(case, 2, 0), state)
    assert y.shape == (2, 0, block.output_dim, *case.y_space)
    same(end, state, {"rtol": 0.0, "atol": 0.0})
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 4\]"):
        block(inputs(case, 2, 4), state, lengths=torch.tensor([5, 0]))
    with pytest.raises(ValueError, match=f"must be .*{DIM}"):
        block(torch.zeros(2, 4, DIM + 1, *case.space, dtype=torch.float64))
    if not block.streamable:
        with pytest.raises(NotImplementedError):
            block.step(inputs(case, 2, 1)[:, 0], state)
