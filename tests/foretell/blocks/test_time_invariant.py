"""What LSSL and S4D share: blocks of time of any size, lengths, rounding."""

import pytest
import torch

from foretell.blocks.lssl import LSSL, LsslState, lssl_naive
from foretell.blocks.s4d import S4D, S4dState, s4d_naive

DTYPE, DIM = torch.float64, 2
LSSLS = [{"num_outputs": 1}, {"num_outputs": 2}, {"hippo": "legt"}]
S4DS = [{"init": init} for init in ("lin", "inv", "legs", "real")]
STARTS = [(LSSL, options) for options in LSSLS] + [(S4D, options) for options in S4DS]
MIXERS = pytest.mark.parametrize(("mixer", "options"), STARTS)


def build(mixer, options, state_dim=6, **more):
    torch.manual_seed(0)
    return mixer(DIM, state_dim, **options, **more).double()


def randn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def random_state(mixer, batch, state_dim=6):
    if mixer is LSSL:
        return LsslState(randn(batch, DIM, state_dim, seed=3))
    return S4dState(randn(batch, DIM, state_dim // 2, 2, seed=3))


def naive(block, x, state):
    return (lssl_naive if isinstance(block, LSSL) else s4d_naive)(block, x, state)


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@MIXERS
@pytest.mark.parametrize("time", [1, 2, 17, 64, 65, 130])
def test_convolution_recurrence_and_loop_agree_at_any_block_size(mixer, options, time):
    x, state = randn(2, time, DIM), random_state(mixer, 2)
    block = build(mixer, options)
    expected = naive(block, x, state)
    for block_size in (1, 5, 16, 64, mixer.max_block_size):
        y, end = build(mixer, options, block_size=block_size)(x, state)
        close(y, expected[0])
        close(end.x, expected[1].x)
    outputs = []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        outputs.append(y_t)
    close(torch.stack(outputs, 1), expected[0])
    close(state.x, expected[1].x)


@MIXERS
@pytest.mark.parametrize("block_size", [3, 8])
def test_gradients_do_not_depend_on_the_block_size(mixer, options, block_size):
    grads = []
    for size in (block_size, 64):
        block, state = build(mixer, options, block_size=size), random_state(mixer, 3)
        x, x0 = randn(3, 20, DIM).requires_grad_(), state.x.requires_grad_()
        y, end = block(x, state, lengths=torch.tensor([20, 16, 7]))
        loss = (y * randn(3, 20, DIM, seed=4)).sum() + end.x.square().sum()
        grads.append(torch.autograd.grad(loss, [x, x0, *block.parameters()]))
    for one, other in zip(*grads, strict=True):
        close(one, other, 1e-8)


@MIXERS
@pytest.mark.parametrize("lengths", [[0, 1, 7, 8], [9, 15, 16, 17], [24, 23, 25, 2]])
def test_final_state_at_every_side_of_a_block_border(mixer, options, lengths):
    block, x = build(mixer, options, block_size=8), randn(4, 25, DIM)
    state = random_state(mixer, 4)
    _, end = block(x, state, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        own = type(state)(state.x[row : row + 1])
        if length:
            _, own = naive(block, x[row : row + 1, :length], own)
        close(end.x[row : row + 1], own.x)


@MIXERS
def test_long_sequences_stay_close_to_float64(mixer, options):
    block = build(mixer, options, state_dim=32)
    x = randn(1, 4000 if mixer is LSSL else 16384, DIM)
    y, end = block(x)
    short, last = block.float()(x.float())
    assert short.isfinite().all()
    assert (short - y).abs().max() <= 1e-3 * max(1.0, y.abs().max().item())
    assert (last.x - end.x).abs().max() <= 1e-3 * max(1.0, end.x.abs().max().item())
