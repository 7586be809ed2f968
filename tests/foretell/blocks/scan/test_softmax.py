"""Softmax scans against the loop, and the loop against softmax attention."""

from functools import partial
from itertools import product

import pytest
import torch

from foretell.blocks.scan import naive
from foretell.blocks.scan.softmax import softmax_scan, softmax_scan_tree

LENGTHS = (0, 1, 2, 17, 37, 64, 65, 130)
CHUNKS = (None, 1, 5, 16, 64)  # None: the tree
COVER = [
    (time, chunk, (1, 3)[(i + i // 5) % 2], (i + i // 10) % 2 == 1, ("random", "empty")[i // 3 % 2])
    for i, (time, chunk) in enumerate(product(LENGTHS, CHUNKS))
]
FULL = list(product(LENGTHS, CHUNKS, (1, 3), (False, True), ("random", "empty")))
F64 = torch.float64
SCANS = [
    naive.softmax_scan,
    softmax_scan_tree,
    softmax_scan,
    partial(softmax_scan, chunk_size=5),
]


def fast(chunk):
    return softmax_scan_tree if chunk is None else partial(softmax_scan, chunk_size=chunk)


def empty_carry(batch, heads=2, width=3, dtype=F64):
    zeros = torch.zeros(batch, heads, dtype=dtype)
    return (torch.full_like(zeros, -torch.inf), zeros, zeros[..., None].repeat(1, 1, width))


def make_inputs(batch, time, carry="empty", *, dtype=F64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)

    inputs = {"s": 3 * draw(batch, time, 2), "v": draw(batch, time, 2, 3)}
    random = (draw(batch, 2), draw(batch, 2).abs() + 0.1, draw(batch, 2, 3))
    return inputs | {"carry": random if carry == "random" else empty_carry(batch, dtype=dtype)}


@pytest.mark.parametrize("case", COVER)
def test_equals_loop(case, assert_same, make_segment):
    time, chunk, batch, resets, carry = case
    inputs = make_inputs(batch, time, carry)
    if resets:
        inputs["segment"] = make_segment(batch, time, time)
    assert_same(fast(chunk), naive.softmax_scan, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("case", FULL)
def test_equals_loop_everywhere(case, assert_same, make_segment):
    test_equals_loop(case, assert_same, make_segment)


def test_crosses_many_chunks(assert_same, make_segment):
    inputs = make_inputs(1, 1061) | {"segment": make_segment(1, 1061, 3).clamp(max=20)}
    assert_same(softmax_scan, naive.softmax_scan, inputs)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("spread", [1.0, 20.0])
def test_equals_causal_attention(scan, spread):
    inputs = make_inputs(2, 37)
    s, v = (inputs["s"] * spread).requires_grad_(), inputs["v"].requires_grad_()
    hidden = torch.ones(37, 37, dtype=torch.bool).triu(1)
    scores = s.transpose(1, 2)[:, :, None].expand(-1, -1, 37, -1).masked_fill(hidden, -torch.inf)
    expected = torch.einsum("bhij,bjhp->bihp", scores.softmax(-1), v)
    o, (m, u, w) = scan(s, v, inputs["carry"])
    torch.testing.assert_close(o, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(m + u.log(), s.logsumexp(1), atol=1e-12, rtol=0)
    torch.testing.assert_close(w / u[..., None], expected[:, -1], atol=1e-12, rtol=0)
    seen = torch.randn(o.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    grads = torch.autograd.grad((o * seen).sum(), [s, v])
    references = torch.autograd.grad((expected * seen).sum(), [s, v])
    torch.testing.assert_close(grads, references, atol=1e-12, rtol=0)


@pytest.mark.parametrize("scan", SCANS)
def test_splits_anywhere(scan):
    inputs = make_inputs(2, 37, "random")
    s, v, carry = inputs.values()
    o, last = scan(s, v, carry)
    for at in (0, 1, 4, 6, 31, 33, 36, 37):
        first, held = scan(s[:, :at], v[:, :at], carry)
        second, end = scan(s[:, at:], v[:, at:], held)
        joined = torch.cat([first, second], 1)
        torch.testing.assert_close((joined, end), (o, last), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scan", SCANS)
def test_segments_are_separate_runs(scan):
    """A reset at 0, two in one chunk, one at a border; larger scores before a reset do no harm."""
    starts = [0, 3, 7, 32, 35, 40]
    reset = torch.zeros(1, 40, dtype=torch.bool)
    reset[0, starts[:-1]] = True
    s, v, carry = make_inputs(1, 40, "random").values()
    s = s - 1000.0 * reset.cumsum(1)[..., None]
    leaves = [s.requires_grad_(), v.requires_grad_(), carry[1].requires_grad_()]
    leaves.append(carry[2].requires_grad_())
    o, (m, u, w) = scan(s, v, carry, segment=reset.cumsum(1))
    for start, stop in zip(starts, starts[1:], strict=False):
        alone, end = scan(s[:, start:stop], v[:, start:stop], empty_carry(1))
        torch.testing.assert_close(o[:, start:stop], alone, atol=1e-12, rtol=0)
    torch.testing.assert_close((m, u, w), end, atol=1e-12, rtol=0)
    grads = torch.autograd.grad(o[:, 32:].sum() + u.sum() + w.sum(), leaves)
    assert not grads[0][:, :32].any() and not grads[1][:, :32].any()
    assert not grads[2].any() and not grads[3].any()


@pytest.mark.parametrize("scan", SCANS)
def test_minus_infinity_is_the_identity(scan):
    """Padding before, between and after; rows without any finite score keep their carry."""
    s, v, _ = make_inputs(2, 37).values()
    s[0, :9] = s[0, 20] = s[0, 30:] = -torch.inf
    s[1] = -torch.inf
    s, v = s.requires_grad_(), v.requires_grad_()
    o, (m, u, w) = scan(s, v, empty_carry(2))
    seen = [*range(9, 20), *range(21, 30)]
    alone, end = scan(s[:1, seen], v[:1, seen], empty_carry(1))
    torch.testing.assert_close(o[:1, seen], alone, atol=1e-12, rtol=0)
    torch.testing.assert_close((m[:1], u[:1], w[:1]), end, atol=1e-12, rtol=0)
    assert not o[0, :9].any() and not o[1].any()
    assert (m[1] == -torch.inf).all() and not u[1].any() and not w[1].any()
    for grad in torch.autograd.grad(o.sum() + u.sum() + w.sum(), [s, v]):
        assert grad.isfinite().all() and not grad[1].any() and not grad[0, :9].any()


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("slope", [50.0, 0.2, 0.0, -50.0])
def test_extreme_scores_stay_finite(scan, slope, run_scan):
    inputs = make_inputs(2, 130, dtype=torch.float32)
    inputs["s"] = slope * torch.arange(130.0)[None, :, None].expand(2, 130, 2)
    values, grads = run_scan(scan, inputs)
    wide = {"s": inputs["s"].double(), "v": inputs["v"].double(), "carry": empty_carry(2)}
    expected, expected_grads = run_scan(naive.softmax_scan, wide)
    for value, reference in zip(values + grads, expected + expected_grads, strict=True):
        assert value.isfinite().all()
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))


def test_maximum_is_a_constant():
    s, v, (m, u, w) = make_inputs(1, 5, "random").values()
    m.requires_grad_()
    for scan in SCANS:
        o, carry = scan(s.clone().requires_grad_(), v, (m, u, w))
        assert not carry[0].requires_grad
        assert torch.autograd.grad(o.sum(), m, allow_unused=True) == (None,)


@pytest.mark.parametrize("scan", SCANS)
def test_gradcheck(scan):
    s, v, (m, u, w) = make_inputs(1, 6, "random").values()
    segment = torch.tensor([[0, 0, 0, 1, 1, 1]])
    # Far above the scores, so that the maximum does not move: gradients hold it constant.
    m = m + 50

    def run(s, v, u, w):
        o, (_, sums, values) = scan(s + 50, v, (m + 10, u, w), segment=segment)
        return o, values / sums[..., None]

    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in (s, v, u, w)])


def test_chunk_size_is_checked():
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        softmax_scan(**make_inputs(1, 3), chunk_size=0)
