"""The forms of every sequence block agree: steps, pieces, oracles, gradients (T1-T6)."""

import pytest
import torch
from mixer_cases import (
    CASES,
    CAUSAL,
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


@cases(STREAMABLE)
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 17), (1, 65)])
def test_t1_forward_is_a_loop_of_steps(case, batch, time):
    block, x = build(case), inputs(case, batch, time)
    for state in (initial(case, block, batch), random_state(case, block, batch)):
        same(block(x, state), loop(block, x, state), case.tolerance)
    same(
        block(x, start(case, block, batch)),
        block(x, initial(case, block, batch)),
        {"rtol": 0.0, "atol": 0.0},
    )


@cases(CAUSAL)
@pytest.mark.parametrize("cut", [0, 1, 16, 36])
def test_t2_a_sequence_may_be_cut_anywhere(case, cut):
    block, x = build(case), inputs(case, 2, 37)
    first, state = block(x[:, :cut], start(case, block, 2))
    second, state = block(x[:, cut:], state)
    y, end = block(x, start(case, block, 2))
    same((torch.cat([first, second], 1), state), (y, end), case.tolerance)


@pytest.mark.slow
@cases(CAUSAL)
def test_t2_every_cut(case):
    for cut in range(38):
        test_t2_a_sequence_may_be_cut_anywhere(case, cut)


@cases(CASES)
@pytest.mark.parametrize(("batch", "time"), [(3, 2), (1, 64), (2, 37)])
def test_t3_t5_the_oracle_agrees_with_its_gradients(case, batch, time):
    block = build(case)
    results = []
    for run in (block, lambda *given: case.naive(block, *given)):
        x = inputs(case, batch, time).requires_grad_()
        state, fields = leaf_state(case, block, batch)
        y, end = run(x, state)
        grads = gradients(block, y, end, [x, *block.parameters(), *fields])
        results.append(((y, end), grads))
    same(results[0][0], results[1][0], case.tolerance)
    same(results[0][1], results[1][1], {"rtol": 1e-9, "atol": 1e-8})


@cases(CASES)
def test_t5_gradcheck(case):
    block = build(case)
    state, fields = leaf_state(case, block, 1)
    x = inputs(case, 1, 3).requires_grad_()

    def run(given):
        y, end = block(given, state)
        if case.without_gradient:  # Its fields share a free scale: check what is read from them.
            return y, block(inputs(case, 1, 2, seed=5), end)[0]
        return (y, *(t for t in _pytree.tree_leaves(end) if t.requires_grad))

    assert torch.autograd.gradcheck(run, (x,), atol=1e-6)
    counts = getattr(state, "counts", None)  # A count of 1 is a tie: what it divides is at least 1.
    others = [t for t in [*block.parameters(), *fields] if t.numel() and t is not counts]
    # Their entries are changed where they stand.
    assert torch.autograd.gradcheck(lambda *_: run(x), others, atol=1e-6, fast_mode=True)


@cases(CAUSAL)
@pytest.mark.parametrize("training", [False, True])
def test_t6_no_output_depends_on_a_later_input(case, training):
    """The first step, the last, and those beside the borders of chunks of 4, 5 and 16."""
    block, x = build(case).train(training), inputs(case, 2, 18).requires_grad_()
    y, _ = block(x, start(case, block, 2))
    reached = 0
    for t in (0, 4, 11, 15, 17):
        (grad,) = torch.autograd.grad(y[:, t].sum(), x, retain_graph=True)
        assert (grad[:, t + 1 :].abs() <= case.leak).all()
        reached += int(torch.count_nonzero(grad[:, : t + 1]))
    assert reached > 0
