"""Linear scans: fast forms against the loops, and the loops against closed sums."""

from functools import partial
from itertools import product

import pytest
import torch

from foretell.blocks.scan import naive
from foretell.blocks.scan.chunked import linear_scan, linear_scan_tree, ssd, ssd_tree

LENGTHS = (0, 1, 2, 17, 37, 64, 65, 130)
CHUNKS = (1, 5, 16, 64)
GROUPS = (1, 2, 4)
F64 = torch.float64
# Every length with every chunk size; batch, groups and resets cycle so that all pairs occur.
COVER = [
    (time, chunk, (1, 3)[(i + i // 4) % 2], GROUPS[(i + i // 4) % 3], (i + i // 8) % 2 == 1)
    for i, (time, chunk) in enumerate(product(LENGTHS, CHUNKS))
]
FULL = list(product(LENGTHS, CHUNKS, (1, 3), GROUPS, (False, True)))


def ssd_inputs(batch, time, groups=2, *, dtype=F64, heads=4, width=3, state=5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)

    return {
        "x": draw(batch, time, heads, width),
        "log_a": -draw(batch, time, heads).abs(),
        "B": draw(batch, time, groups, state),
        "C": draw(batch, time, groups, state),
        "h0": draw(batch, heads, width, state),
    }


def linear_inputs(batch, time, channels=(3, 2), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, time, *channels)
    return {
        "log_a": -torch.rand(shape, generator=generator, dtype=F64),
        "b": torch.randn(shape, generator=generator, dtype=F64),
        "h0": torch.randn(batch, *channels, generator=generator, dtype=F64),
    }


def cut(inputs, start, stop=None):
    return {k: v if k == "h0" else v[:, start:stop] for k, v in inputs.items()}


@pytest.mark.parametrize("case", COVER)
def test_ssd_equals_loop(case, assert_same, make_segment):
    time, chunk, batch, groups, resets = case
    inputs = ssd_inputs(batch, time, groups)
    if resets:
        inputs["segment"] = make_segment(batch, time, chunk)
    assert_same(partial(ssd, chunk_size=chunk), naive.ssd, inputs)


@pytest.mark.parametrize("time", LENGTHS)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("resets", [False, True])
def test_ssd_tree_equals_loop(time, groups, resets, assert_same, make_segment):
    batch = 1 + 2 * ((time + groups) % 2)
    inputs = ssd_inputs(batch, time, groups)
    if resets:
        inputs["segment"] = make_segment(batch, time, 0)
    assert_same(ssd_tree, naive.ssd, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("case", FULL)
def test_ssd_equals_loop_everywhere(case, assert_same, make_segment):
    test_ssd_equals_loop(case, assert_same, make_segment)


@pytest.mark.parametrize("resets", [False, True])
def test_ssd_crosses_blocks(resets, assert_same, make_segment):
    inputs = ssd_inputs(1, 1061, 1, heads=2, width=2, state=2)
    if resets:
        inputs["segment"] = make_segment(1, 1061, 3).clamp(max=20)
    assert_same(ssd, naive.ssd, inputs)


@pytest.mark.parametrize("block", [1, 7, 16, 40, 1000])
def test_block_size_changes_nothing(block, assert_same, make_segment):
    inputs = ssd_inputs(2, 65) | {"segment": make_segment(2, 65, 0)}
    assert_same(partial(ssd, chunk_size=8, block_size=block), naive.ssd, inputs)


def test_ssd_in_float32():
    inputs = ssd_inputs(3, 130)
    expected = naive.ssd(**inputs)
    single = ssd(**{k: v.float() for k, v in inputs.items()})
    for value, reference in zip(single, expected, strict=True):
        assert value.dtype == torch.float32
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))


def test_loop_equals_closed_sum():
    inputs = ssd_inputs(2, 17, 2)
    x, log_a, B, C, h0 = inputs.values()
    heads = [0, 0, 1, 1]  # group of each head
    c = log_a.cumsum(1)
    y = torch.zeros_like(x)
    for i in range(17):
        h = c[:, i, :, None, None].exp() * h0
        for j in range(i + 1):
            decay = (c[:, i] - c[:, j]).exp()
            h = h + torch.einsum("bh,bhp,bhn->bhpn", decay, x[:, j], B[:, j, heads])
        y[:, i] = torch.einsum("bhpn,bhn->bhp", h, C[:, i, heads])
    torch.testing.assert_close(naive.ssd(**inputs), (y, h), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scan", [naive.ssd, partial(ssd, chunk_size=16)])
def test_ssd_splits_anywhere(scan):
    inputs = ssd_inputs(2, 37)
    y, last = scan(**inputs)
    for at in (0, 1, 15, 17, 36):
        first, h = scan(**cut(inputs, 0, at))
        second, end = scan(**cut(inputs, at) | {"h0": h})
        joined = torch.cat([first, second], 1)
        torch.testing.assert_close((joined, end), (y, last), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "scan, inputs",
    [
        (naive.ssd, ssd_inputs(1, 40)),
        (ssd_tree, ssd_inputs(1, 40)),
        (partial(ssd, chunk_size=16), ssd_inputs(1, 40)),
        (partial(ssd, chunk_size=5, block_size=10), ssd_inputs(1, 40)),
        (naive.linear_scan, linear_inputs(1, 40)),
        (linear_scan, linear_inputs(1, 40)),
        (linear_scan_tree, linear_inputs(1, 40)),
    ],
)
def test_segments_are_separate_runs(scan, inputs):
    """A reset at 0, two in one chunk, one at a border; none lets a gradient through."""
    starts = [0, 3, 7, 16, 33, 40]
    reset = torch.zeros(1, 40, dtype=torch.bool)
    reset[0, starts[:-1]] = True
    inputs = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    y, last = scan(**inputs, segment=reset.cumsum(1))
    zero = {"h0": torch.zeros_like(inputs["h0"])}
    for start, stop in zip(starts, starts[1:], strict=False):
        alone, end = scan(**cut(inputs, start, stop) | zero)
        torch.testing.assert_close(y[:, start:stop], alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(last, end, atol=1e-12, rtol=0)
    grads = torch.autograd.grad(y[:, 16:].sum() + last.sum(), list(inputs.values()))
    for name, grad in zip(inputs, grads, strict=True):
        assert not grad.any() if name == "h0" else not grad[:, :16].any()
        if name == "log_a":
            assert not grad[:, 33].any()


@pytest.mark.parametrize("log_a", [0.0, -1e-3, -2.0, -60.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_extreme_decays_stay_finite(log_a, scale, run_scan):
    inputs = ssd_inputs(2, 130, dtype=torch.float32)
    inputs["log_a"] = torch.full_like(inputs["log_a"], log_a)
    inputs["x"] = inputs["x"] * scale
    values, grads = run_scan(ssd, inputs)
    expected, expected_grads = run_scan(naive.ssd, {k: v.double() for k, v in inputs.items()})
    for value, reference in zip(values + grads, expected + expected_grads, strict=True):
        assert value.isfinite().all()
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))


def test_decay_then_memory(run_scan):
    """Steps of -60 and then of 0: sums far from 0, of which small differences count."""
    inputs = ssd_inputs(1, 130, dtype=torch.float32)
    inputs["log_a"] = torch.zeros_like(inputs["log_a"])
    inputs["log_a"][:, :64] = -60.0
    inputs["log_a"][:, 64:] = -1e-2
    values, grads = run_scan(ssd, inputs)
    expected, expected_grads = run_scan(naive.ssd, {k: v.double() for k, v in inputs.items()})
    for value, reference in zip(values + grads, expected + expected_grads, strict=True):
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))


@pytest.mark.parametrize("huge", [-100.0, -1e3, -1e5, -3e38])
@pytest.mark.parametrize("window", [None, 20])
def test_a_huge_decay_costs_its_neighbours_no_digits(huge, window, run_scan):
    inputs = ssd_inputs(2, 65, dtype=torch.float32)
    inputs["log_a"] = -0.1 * torch.ones_like(inputs["log_a"])
    inputs["log_a"][:, ::7] = huge
    values, _ = run_scan(partial(ssd, window=window), inputs)
    loop = partial(naive.ssd, window=window)
    expected, _ = run_scan(loop, {k: v.double() for k, v in inputs.items()})
    for value, reference in zip(values, expected, strict=True):
        assert (value - reference).abs().max() <= 2e-5 * max(1.0, float(reference.abs().max()))


def test_output_is_causal():
    inputs = ssd_inputs(1, 20)
    x = inputs["x"].requires_grad_()
    y, _ = ssd(**inputs, chunk_size=8)
    for t in range(19):
        (grad,) = torch.autograd.grad(y[:, t].sum(), x, retain_graph=True)
        assert not grad[:, t + 1 :].any() and grad[:, t].any()


@pytest.mark.parametrize("window", [None, 3])
def test_ssd_gradcheck(window):
    inputs = ssd_inputs(1, 7, 1, heads=2, width=2, state=2)
    leaves = [v.requires_grad_() for v in inputs.values()]
    segment = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    scan = partial(ssd, segment=segment, chunk_size=3, window=window)
    assert torch.autograd.gradcheck(scan, leaves)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        ssd(**ssd_inputs(1, 4), **change)


def test_groups_divide_heads():
    with pytest.raises(ValueError, match="divide the 4 heads, got 3"):
        ssd(**ssd_inputs(1, 4, 3))


@pytest.mark.parametrize("scan", [linear_scan, linear_scan_tree])
@pytest.mark.parametrize("time", LENGTHS)
@pytest.mark.parametrize("resets", [False, True])
def test_linear_scan_equals_loop(scan, time, resets, assert_same, make_segment):
    batch, channels = [(1, ()), (3, (3, 2))][time % 2 == resets]
    inputs = linear_inputs(batch, time, channels)
    if resets:
        inputs["segment"] = make_segment(batch, time, 0)
    assert_same(scan, naive.linear_scan, inputs)


def test_linear_loop_equals_closed_sum():
    inputs = linear_inputs(2, 17)
    c = inputs["log_a"].cumsum(1)
    decays = (c[:, :, None] - c[:, None]).exp() * torch.ones(17, 17).tril()[:, :, None, None]
    h = torch.einsum("bijcd,bjcd->bicd", decays, inputs["b"]) + c.exp() * inputs["h0"][:, None]
    torch.testing.assert_close(naive.linear_scan(**inputs), (h, h[:, -1]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scan", [naive.linear_scan, linear_scan, linear_scan_tree])
def test_linear_scan_splits_anywhere(scan):
    inputs = linear_inputs(2, 17)
    h, last = scan(**inputs)
    for at in (0, 1, 8, 16, 17):
        first, carried = scan(**cut(inputs, 0, at))
        second, end = scan(**cut(inputs, at) | {"h0": carried})
        torch.testing.assert_close(
            (torch.cat([first, second], 1), end), (h, last), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("scan", [linear_scan, linear_scan_tree])
@pytest.mark.parametrize("log_a", [0.0, -60.0])
def test_linear_scan_stays_finite(scan, log_a, run_scan):
    inputs = {k: v.float() for k, v in linear_inputs(2, 130).items()}
    inputs["log_a"] = torch.full_like(inputs["log_a"], log_a)
    inputs["b"] = inputs["b"] * 1e4
    values, grads = run_scan(scan, inputs)
    expected, expected_grads = run_scan(
        naive.linear_scan, {k: v.double() for k, v in inputs.items()}
    )
    for value, reference in zip(values + grads, expected + expected_grads, strict=True):
        assert value.isfinite().all()
        assert (value - reference).abs().max() <= 1e-4 * max(1.0, float(reference.abs().max()))


@pytest.mark.parametrize("scan", [linear_scan, linear_scan_tree])
def test_linear_scan_gradcheck(scan):
    leaves = [v.requires_grad_() for v in linear_inputs(1, 6, (2,)).values()]
    segment = torch.tensor([[0, 0, 1, 1, 1, 2]])
    assert torch.autograd.gradcheck(partial(scan, segment=segment), leaves)
