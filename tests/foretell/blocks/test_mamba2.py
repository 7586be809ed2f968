"""Mamba-2: against a double sum, and what its options promise."""

import math

import pytest
import torch
from torch.nn import functional

from foretell.blocks import mamba2
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.mamba2_naive import mamba2_naive
from foretell.blocks.protocol import cat_states, index_state
from foretell.blocks.scan import naive
from foretell.blocks.scan.recent import RecentInputs

F64 = torch.float64
DIM = 4


def build(dtype=F64, seed=0, **options):
    torch.manual_seed(seed)
    block = Mamba2(DIM, 3, **({"head_dim": 2} | options))
    with torch.no_grad():
        for parameter in block.no_decay_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block.to(dtype)


def inputs(batch, time, dtype=F64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, DIM, generator=generator, dtype=F64).to(dtype)


def loop(block, x, state):
    out, states = [], []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        out.append(y_t)
        states.append(state)
    return torch.stack(out, 1), states


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("window", [None, 3])
def test_equals_the_sum_over_pairs(groups, window):
    """y_t = D x_t + sum_j exp(-A (dt_{j+1} + ... + dt_t)) dt_j (B_j . C_t) x_j, term by term."""
    block = build(num_groups=groups, window=window)
    x, H, P, N = inputs(1, 9), 4, 2, 3
    z, xBC, dt = (x[0] @ block.in_proj.weight.T).split([H * P, H * P + 2 * groups * N, H], -1)
    conv = functional.conv1d(
        xBC.T[None], block.conv_weight[:, None], block.conv_bias, padding=3, groups=xBC.shape[1]
    )[0, :, :9].T
    values, B, C = functional.silu(conv).split([H * P, groups * N, groups * N], -1)
    dt = (1 + (dt + block.dt_bias).exp()).log()
    y = torch.zeros(9, H * P, dtype=F64)
    for t in range(9):
        for head in range(H):
            own, group = slice(head * P, head * P + P), slice(0, N)
            if groups == 2 and head >= 2:
                group = slice(N, 2 * N)
            y[t, own] = block.skip[head] * values[t, own]
            for j in range(0 if window is None else max(0, t - window + 1), t + 1):
                passed = dt[j + 1 : t + 1, head].sum()
                decay = torch.exp(-block.log_decay_rate[head].exp() * passed)
                y[t, own] += decay * dt[j, head] * (B[j, group] @ C[t, group]) * values[j, own]
    gated = (y * z * torch.sigmoid(z)).unflatten(-1, (groups, -1))
    normed = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = (normed.flatten(-2) * block.norm_weight) @ block.out_proj.weight.T
    close(block(x)[0][0], expected, 1e-12)


@pytest.mark.parametrize("time", [1, 2, 17, 37, 64, 65, 130])
def test_chunk_sizes_and_backends_agree(time):
    x = inputs(3 if time % 2 else 1, time)
    expected, end = mamba2_naive(build(), x, build().init_state(len(x)))
    options = [{"chunk_size": size} for size in (1, 5, 16, 64)]
    options += [{"scan_backend": "naive"}, {"scan_backend": "chunked"}, {"scan_backend": "tree"},
                {"scan_fn": naive.ssd}]  # fmt: skip
    for option in options:
        y, state = build(**option)(x)
        close(y, expected)
        close(state.ssm, end.ssm)


@pytest.mark.parametrize("options", [{}, {"window": 16}, {"per_channel": True},
                                     {"max_state_norm": 0.01, "norm_every": 16}])  # fmt: skip
def test_float32_stays_near_float64(options):
    x = inputs(2, 130)
    expected, _ = build(**options)(x)
    y, _ = build(torch.float32, **options)(x.float())
    close(y.double(), expected.double(), 1e-4 * max(1.0, float(expected.detach().abs().max())))


def test_the_conv_state_holds_the_last_valid_inputs():
    block, x = build(), inputs(4, 6)
    taken = (x @ block.in_proj.weight.T)[..., 8:-4]
    lengths = torch.tensor([6, 0, 2, 4])
    _, state = block(x, lengths=lengths)
    padded = functional.pad(taken, (0, 0, 3, 0))
    for row, length in enumerate(lengths.tolist()):
        close(state.conv[row].T, padded[row, length : length + 3], 1e-12)
    assert state.conv.shape == (4, 8 + 2 * 3, 3) and state.position.tolist() == [6, 0, 2, 4]
    reset = torch.zeros(4, 6, dtype=torch.bool)
    reset[0, 4] = reset[3, 5] = True  # The second lies in the padding.
    _, state = block(x, lengths=lengths, reset=reset)
    assert torch.count_nonzero(state.conv[0, :, 0]) == 0
    close(state.conv[0, :, 1:].T, taken[0, 4:], 1e-12)
    close(state.conv[3].T, taken[3, 1:4], 1e-12)
    assert state.position.tolist() == [2, 0, 2, 4]


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"max_state_norm": 0.01},
                                     {"max_state_norm": 0.01, "norm_every": 4},
                                     {"per_channel": True}])  # fmt: skip
def test_no_gradient_crosses_a_reset(options):
    block, x = build(**options), inputs(1, 12).requires_grad_()
    reset = torch.arange(12)[None] == 5
    state = block.init_state(1)._replace(
        ssm=torch.ones(1, 4, 2, 3, dtype=F64, requires_grad=True),
        conv=torch.ones(1, 14, 3, dtype=F64, requires_grad=True),
    )
    y, end = block(x, state, reset=reset)
    loss = y[:, 5:].sum() + end.ssm.sum() + end.conv.sum()
    grad, *of_state = torch.autograd.grad(
        loss, [x, state.ssm, state.conv], materialize_grads=True, allow_unused=True
    )
    assert torch.count_nonzero(grad[:, :5]) == 0 and torch.count_nonzero(grad[:, 5:]) > 0
    assert not any(map(torch.count_nonzero, of_state))


def test_forgetting_more_is_a_greater_rate_and_smaller_inputs():
    block, x = build(), inputs(2, 20)
    other = build(decay_scale=3.0, input_scale=0.25)
    with torch.no_grad():
        block.log_decay_rate += math.log(3.0)
    expected, state = block(x)[1].ssm / 4, other(x)[1].ssm
    close(state, expected)
    assert state.norm() < build()(x)[1].ssm.norm()


@pytest.mark.parametrize("every", [1, 4, 16])
def test_the_state_norm_is_bounded(every):
    bound = 0.02
    block, x = build(max_state_norm=bound, norm_every=every), inputs(2, 40)
    _, states = loop(block, x, block.init_state(2))
    _, free = loop(build(), x, block.init_state(2))
    norms = torch.stack([s.ssm.flatten(2).norm(dim=2) for s in states])
    assert norms[every - 1 :: every].max() <= bound * (1 + 1e-12)
    assert torch.stack([s.ssm.flatten(2).norm(dim=2) for s in free]).max() > 2 * bound
    assert (norms > 0).all() and (every == 1 or norms.max() > bound)
    y, end = block(x)
    close(end.ssm, states[-1].ssm)
    assert block.chunk_invariant is False and build().chunk_invariant is True


def test_rows_may_stand_at_different_positions():
    for options in ({"max_state_norm": 0.01, "norm_every": 5}, {"window": 5}):
        block = build(**options)
        states = [block(inputs(1, time, seed=time))[1] for time in (0, 3, 5, 9)]
        state, x = cat_states(states), inputs(4, 13)
        assert state.position.tolist() == [0, 3, 5, 9]
        lengths = torch.tensor([13, 1, 2, 11])
        y, end = block(x, state, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            own, states = loop(
                block, x[row : row + 1, :length], index_state(state, torch.tensor([row]))
            )
            close(y[row : row + 1, :length], own)
            for a, b in zip(index_state(end, torch.tensor([row]))[:3], states[-1][:3], strict=True):
                close(a, b)


def test_a_norm_equal_to_the_bound():
    """Neither the value nor the gradient of a state on the border is changed."""
    block = build(max_state_norm=5.0)
    h = torch.zeros(1, 4, 2, 3, dtype=F64)
    h[..., 0, 0], h[..., 1, 2] = 3.0, 4.0
    with torch.no_grad():
        block.dt_bias.fill_(-800.0)  # dt = 0: h stays
    state = block.init_state(1)._replace(ssm=h.requires_grad_())
    x = torch.zeros(1, 1, DIM, dtype=F64)
    for end in (block(x, state)[1].ssm, block.step(x[:, 0], state)[1].ssm):
        assert torch.equal(end, h)
        (grad,) = torch.autograd.grad(end.sum(), h)
        assert torch.equal(grad, torch.ones_like(h))
    zero = block.init_state(1)._replace(ssm=torch.zeros_like(h).requires_grad_())
    (grad,) = torch.autograd.grad(block(x, zero)[1].ssm.sum(), zero.ssm)
    close(grad, torch.ones_like(grad))


def subtracting_window(block, x, window):
    """S_t = h_t - (a_t ... a_{t-r+1}) h_{t-r} in float64, the paper's own form."""
    seen = {}

    def spy(values, log_a, B, C, h0, *, segment=None):
        seen.update(v=values, log_a=log_a, B=B, C=C)
        y, h = naive.ssd(values, log_a, B, C, h0, segment=segment)
        late = functional.pad(values, (0, 0, 0, 0, window, 0))[:, : x.shape[1]]
        late_B = functional.pad(B, (0, 0, 0, 0, window, 0))[:, : x.shape[1]]
        total = functional.pad(log_a.cumsum(1), (0, 0, window, 0))
        decay = (total[:, window:] - total[:, :-window]).exp()
        first = functional.pad(log_a, (0, 0, window, 0))[:, : x.shape[1]]
        delayed, _ = naive.ssd(late, first, late_B, C, h0)
        return y - decay[..., None] * delayed, h

    free = Mamba2(DIM, 3, head_dim=2, scan_fn=spy).to(F64)
    free.load_state_dict(block.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mamba2, "TIME_BLOCK", x.shape[1])  # The delay reaches over all steps.
        return free(x.double())[0]


def window_agrees(time, window):
    block = build(torch.float32, window=window)
    x = inputs(1, time, torch.float32)
    with torch.no_grad():
        y, end = block(x)
        stepped, states = loop(block, x, block.init_state(1))
        expected = subtracting_window(block, x, window)
    scale = max(1.0, float(expected.abs().max()))
    close(stepped, y, 1e-4 * scale)
    close(y.double(), expected, 1e-4 * scale)
    close(end.recent.x, states[-1].recent.x, 1e-4)
    assert end.recent.x.shape == (1, window, 4, 2)


def test_window_step_equals_the_parallel_and_the_subtracting_form():
    window_agrees(600, 40)


@pytest.mark.slow
def test_window_forms_agree_after_ten_thousand_steps():
    window_agrees(10_000, 64)


@pytest.mark.parametrize("window", [1, 2, 30])
def test_windows_of_one_step_and_longer_than_the_sequence(window):
    block, x = build(window=window, conv_width=1), inputs(2, 12)
    y, end = block(x)
    expected, last = mamba2_naive(block, x, block.init_state(2))
    by_step, states = loop(block, x, block.init_state(2))
    close(y, expected)
    close(by_step, expected)
    for a, b, c in zip(end.recent, last.recent, states[-1].recent, strict=True):
        close(a, b)
        close(a, c)
    if window == 30:
        close(y, build(conv_width=1)(x)[0])


def test_the_window_carries_gradient():
    """The inputs in the ring are part of the state: pieces give the gradient of the whole."""
    block, x = build(window=6, num_groups=2), inputs(2, 15).requires_grad_()
    grads = []
    for cuts in ([0, 15], [0, 2, 4, 11, 15]):
        state, out = block.init_state(2), []
        for start, stop in zip(cuts, cuts[1:], strict=False):
            y, state = block(x[:, start:stop], state)
            out.append(y)
        grads.append(torch.autograd.grad(torch.cat(out, 1).square().sum(), [x, block.skip]))
    by_step, _ = loop(block, x, block.init_state(2))
    grads.append(torch.autograd.grad(by_step.square().sum(), [x, block.skip]))
    for other in grads[1:]:
        for a, b in zip(grads[0], other, strict=True):
            close(a, b, 1e-8)
    assert isinstance(state.recent, RecentInputs)
    assert torch.count_nonzero(block.init_state(2).recent.x) == 0


def test_nothing_older_than_the_window_counts():
    block, x = build(window=5), inputs(1, 20).requires_grad_()
    y, _ = block(x)
    (grad,) = torch.autograd.grad(y[:, 19].sum(), x)
    # Five inputs, the oldest of which saw three more through the convolution.
    assert grad[:, :12].abs().max() < 1e-15 and grad[:, 12].abs().max() > 1e-9


@pytest.mark.parametrize("shift", [-200.0, 0.0, 60.0])
@pytest.mark.parametrize("options", [{}, {"window": 9}, {"max_state_norm": 0.1, "norm_every": 8},
                                     {"per_channel": True}])  # fmt: skip
def test_no_decay_and_full_decay_stay_finite(shift, options):
    """dt = 0: a = 1 at every step; dt = 60: log a <= -60."""
    block, x = build(torch.float32, **options), inputs(2, 65, torch.float32).requires_grad_()
    with torch.no_grad():
        block.dt_bias.add_(shift)
    y, end = block(x)
    loss = y.sum() + end.ssm.square().sum()
    grads = torch.autograd.grad(loss, [x, *block.parameters()])
    assert all(torch.isfinite(t).all() for t in (y, end.ssm, *grads))


def test_per_channel_with_equal_rates_is_the_scan_per_head():
    block, other, x = build(), build(per_channel=True), inputs(2, 17)
    for name, parameter in other.named_parameters():
        value = block.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(value.view(4, 1, 1) if name == "log_decay_rate" else value)
    for a, b in zip(block(x), other(x), strict=True):
        close(a[0] if isinstance(a, tuple) else a, b[0] if isinstance(b, tuple) else b)


def test_initial_values():
    torch.manual_seed(0)
    block = Mamba2(32, 5, expand=4, head_dim=1)
    rate = block.log_decay_rate.exp()
    assert rate.min() >= 1 and rate.max() <= 16 and rate.min() < 3 and rate.max() > 14
    dt = functional.softplus(block.dt_bias)
    assert dt.min() >= 0.99e-3 and dt.max() <= 1.01e-1
    assert 0.3 < float((dt.detach() < 1e-2).float().mean()) < 0.7  # Uniform in the logarithm.
    assert torch.equal(block.skip, torch.ones(128)) and torch.equal(
        block.norm_weight, torch.ones(128)
    )
    assert block.conv_weight.abs().max() <= 0.5 and block.conv_weight.shape == (138, 4)
    held = {id(p) for p in block.no_decay_parameters()}
    assert held == {id(block.log_decay_rate), id(block.skip), id(block.dt_bias)}
    channel = Mamba2(8, 5, head_dim=2, per_channel=True)
    torch.testing.assert_close(
        channel.log_decay_rate.exp(), torch.arange(1.0, 6).expand(8, 2, 5), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_dim": 3}, "head_dim must divide expand [*] input_dim = 8, got 3"),
        ({"num_groups": 3}, "num_groups must divide the 4 heads, got 3"),
        ({"conv_width": 0}, "conv_width must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"norm_every": 0}, "norm_every must be at least 1, got 0"),
        ({"decay_scale": 0.5}, "decay_scale must be at least 1"),
        ({"input_scale": 1.5}, "input_scale in"),
        ({"input_scale": 0.0}, "input_scale in"),
        ({"max_state_norm": 0.0}, "max_state_norm must be above 0, got 0"),
        ({"scan_fn": naive.ssd, "scan_backend": "naive"}, "scan_fn needs scan_backend auto"),
        ({"per_channel": True, "num_groups": 2}, "per_channel takes num_groups = 1"),
        ({"window": 4, "per_channel": True}, "window excludes per_channel"),
        ({"window": 4, "max_state_norm": 1.0}, "window excludes"),
        ({"window": 4, "scan_backend": "tree"}, "window excludes .* scan_backend naive and tree"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Mamba2(DIM, 3, **({"head_dim": 2} | options))
