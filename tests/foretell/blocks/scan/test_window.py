"""Windowed states: against the loop, the formula with a subtraction, and themselves in pieces."""

from functools import partial
from itertools import product

import pytest
import torch

from foretell.blocks.scan import naive
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.window import start_window, window_state, windowed_ssd

WINDOWS = (1, 2, 5, 7, 16, 33, 200)
CHUNKS = (1, 5, 16, 64)
LENGTHS = (0, 1, 2, 17, 37, 65, 130)
COVER = [
    (window, chunk, LENGTHS[(2 * i + i // 7) % 7], (1, 3)[(i + i // 4) % 2], (i + i // 8) % 2 == 1)
    for i, (window, chunk) in enumerate(product(WINDOWS, CHUNKS))
]
FULL = list(product(WINDOWS, CHUNKS, LENGTHS, (1, 3), (False, True)))
F64 = torch.float64


def make_inputs(batch, time, *, dtype=F64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)

    return {
        "x": draw(batch, time, 4, 3),
        "log_a": -0.3 * draw(batch, time, 4).abs(),
        "B": draw(batch, time, 2, 2),
        "C": draw(batch, time, 2, 2),
        "h0": draw(batch, 4, 3, 2),
    }


def steps_of(inputs, start, stop=None):
    return {k: v[:, start:stop] for k, v in inputs.items() if k != "h0"}


@pytest.mark.parametrize("case", COVER)
def test_window_equals_loop(case, assert_same, make_segment):
    window, chunk, time, batch, resets = case
    inputs = make_inputs(batch, time)
    if resets:
        inputs["segment"] = make_segment(batch, time, chunk)
    fast = partial(ssd, window=window, chunk_size=chunk, block_size=40)
    assert_same(fast, partial(naive.ssd, window=window), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("case", FULL)
def test_window_equals_loop_everywhere(case, assert_same, make_segment):
    test_window_equals_loop(case, assert_same, make_segment)


def test_window_crosses_blocks(assert_same, make_segment):
    inputs = make_inputs(1, 1061) | {"segment": make_segment(1, 1061, 3).clamp(max=9)}
    assert_same(partial(ssd, window=5), partial(naive.ssd, window=5), inputs)


@pytest.mark.parametrize("window", [1, 4, 17, 40])
def test_loop_subtracts_the_delayed_state(window):
    """S_t = h_t - (a_t ... a_{t-r+1}) h_{t-r}."""
    inputs = make_inputs(2, 37)
    states = [inputs["h0"]]
    for t in range(37):
        states.append(naive.ssd(**steps_of(inputs, t, t + 1), h0=states[-1])[1])
    y, last = naive.ssd(**inputs, window=window)
    for t in range(37):
        s = states[t + 1]
        if t + 1 >= window:
            decay = inputs["log_a"][:, t - window + 1 : t + 1].sum(1).exp()
            s = s - decay[..., None, None] * states[t + 1 - window]
        C = inputs["C"][:, t, [0, 0, 1, 1]]
        expected = torch.einsum("bhpn,bhn->bhp", s, C)
        torch.testing.assert_close(y[:, t], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(last, s, atol=1e-12, rtol=0)


@pytest.mark.parametrize("window", [1, 3, 16, 50])
@pytest.mark.parametrize("resets", [False, True])
def test_pieces_carry_on(window, resets, assert_same, make_segment):
    inputs = make_inputs(2, 37)
    segment = make_segment(2, 37, 0) if resets else torch.zeros(2, 37, dtype=torch.int64)
    cuts = [0, 0, 1, 2, 3, 9, 15, 17, 36, 37]

    def pieces(x, log_a, B, C, h0):
        carry, out = start_window(h0, window, 2), []
        before = torch.zeros(2, dtype=torch.int64)
        for start, stop in zip(cuts, cuts[1:], strict=False):
            now = slice(start, stop)
            part = segment[:, now] - before[:, None]
            step = (x[:, now], log_a[:, now], B[:, now], C[:, now])
            y, carry = windowed_ssd(*step, carry, segment=part, chunk_size=8)
            before = segment[:, stop - 1] if stop else before
            out.append(y)
        return torch.cat(out, 1), window_state(carry)

    assert_same(pieces, partial(naive.ssd, window=window, segment=segment), inputs)


def test_carry_stops_at_lengths():
    inputs = make_inputs(3, 20)
    lengths = torch.tensor([20, 0, 7])
    start = start_window(inputs["h0"], 5, 2)
    _, carry = windowed_ssd(**steps_of(inputs, 0), carry=start, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = {k: v[row : row + 1] for k, v in inputs.items()}
        first = start_window(alone["h0"], 5, 2)
        _, expected = windowed_ssd(**steps_of(alone, 0, length), carry=first)
        for name, field in expected._asdict().items():
            value = getattr(carry, name)[row : row + 1]
            torch.testing.assert_close(value, field, atol=1e-12, rtol=0, msg=name)


@pytest.mark.parametrize("chunk", [4, 16])
def test_nothing_older_than_the_window_counts(chunk):
    inputs = make_inputs(1, 30)
    leaves = {k: v.requires_grad_() for k, v in inputs.items()}
    y, _ = ssd(**leaves, window=6, chunk_size=chunk)
    x_grad, h_grad = torch.autograd.grad(y[:, 20].sum(), [leaves["x"], leaves["h0"]])
    assert not h_grad.any() and not x_grad[:, :15].any() and not x_grad[:, 21:].any()
    assert x_grad[:, 15:21].abs().sum((0, 2, 3)).all()


@pytest.mark.parametrize("chunk", [5, 8, 64])
def test_no_gradient_crosses_a_reset(chunk):
    inputs = {k: v.requires_grad_() for k, v in make_inputs(1, 40).items()}
    reset = torch.zeros(1, 40, dtype=torch.bool)
    reset[:, [0, 5, 16]] = True
    y, last = ssd(**inputs, window=20, chunk_size=chunk, segment=reset.cumsum(1))
    grads = torch.autograd.grad(y[:, 16:].sum() + last.sum(), list(inputs.values()))
    for name, grad in zip(inputs, grads, strict=True):
        assert not grad.any() if name == "h0" else not grad[:, :16].any()


@pytest.mark.parametrize("log_a", [0.0, -60.0])
def test_extreme_decays_stay_finite(log_a, run_scan):
    inputs = make_inputs(2, 70, dtype=torch.float32)
    inputs["log_a"] = torch.full_like(inputs["log_a"], log_a)
    values, grads = run_scan(partial(ssd, window=20), inputs)
    wide = {k: v.double() for k, v in inputs.items()}
    expected, expected_grads = run_scan(partial(naive.ssd, window=20), wide)
    for value, reference in zip(values + grads, expected + expected_grads, strict=True):
        assert value.isfinite().all()
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))
