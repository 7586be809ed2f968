"""Prefix linear attention against explicit double sums, and the guards of its prefix."""

import pytest
import torch
from torch.utils import _pytree

from foretell.blocks.prefix_attention import (
    PrefixLinearAttention,
    prefix_attention_naive,
    taylor_features,
)


def build(dtype=torch.float64, **options):
    torch.manual_seed(0)
    layer = PrefixLinearAttention(4, 2, **{"feature_dim": 3, **options}).to(dtype)
    torch.nn.init.normal_(layer.output.bias)
    return layer


def inputs(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def double_sums(layer, x, prefix_len):
    """Eq. 3 with kernel 1 + z + z^2 / 2 instead of features, for one row [time, input_dim]."""

    def heads(part):
        return part(x).view(len(x), layer.num_heads, -1)

    q, k, v = heads(layer.query), heads(layer.key), heads(layer.value)
    ke, ve = heads(layer.encoder_key), heads(layer.encoder_value)

    def kernel(a, b):
        z = (a * b).sum(-1) / layer.feature_dim**0.5
        return 1 + z + z * z / 2

    out = []
    for i in range(len(x)):
        above, below = 0, 0
        for j in range(i + 1):
            weight = kernel(q[i], k[j])
            above, below = above + weight[:, None] * v[j], below + weight
        for j in range(min(prefix_len, len(x))):
            weight = kernel(q[i], ke[j])
            above, below = above + weight[:, None] * ve[j], below + weight
        out.append(layer.output((above / below[:, None]).flatten()))
    return torch.stack(out)


def gradients(y, state, sources):
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)
    total = (weights * y).sum() + sum(field.square().sum() for field in state) / 10
    return torch.autograd.grad(total, sources, retain_graph=True)


def same(a, b, atol=1e-9):
    left, right = _pytree.tree_leaves(a), _pytree.tree_leaves(b)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=atol)


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_features_are_those_of_the_taylor_polynomial(dim):
    q, k = 3 * inputs(50, dim), 3 * inputs(50, dim, seed=2)
    z = (q * k).sum(-1) / dim**0.5
    products = (taylor_features(q) * taylor_features(k)).sum(-1)
    assert taylor_features(q).shape == (50, 1 + dim + dim**2)
    torch.testing.assert_close(products, 1 + z + z**2 / 2)
    assert (products >= 0.5 - 1e-9).all()


def test_sixteen_features_make_273():
    assert taylor_features(torch.zeros(2, 3, 16)).shape == (2, 3, 273)
    layer = PrefixLinearAttention(4, 2)
    assert layer.init_state(5).s.shape == (5, 2, 273, 2) and layer.init_state(5).z.shape[2] == 273


def test_the_product_of_features_reaches_one_half():
    k = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    q = -k / 2**0.5  # z = -1, where 1 + z + z^2 / 2 is smallest
    product = (taylor_features(q) * taylor_features(k)).sum()
    torch.testing.assert_close(product, torch.tensor(0.5, dtype=torch.float64))


def test_the_denominator_is_at_least_half_the_number_of_tokens():
    layer, x = build(), 5 * inputs(3, 40, 4)
    state = layer.prefill(x[:, :7])
    for seen, x_t in enumerate(x[:, 7:].unbind(1), 15):  # 7 tokens twice, then one a step
        _, state = layer.step(x_t, state)
        read = taylor_features(layer.query(x_t).view(3, 2, 3))
        assert ((read * state.z).sum(-1) >= 0.5 * seen).all()


@pytest.mark.parametrize(
    ("time", "prefix_len"),
    [(1, 0), (1, 1), (2, 1), (17, 0), (17, 5), (17, 17), (37, 31), (65, 33), (9, 9)],
)
def test_it_is_the_double_sum(time, prefix_len):
    layer, x = build(), inputs(2, time, 4)
    y, _ = layer(x, prefix_len=prefix_len, prefix_output="return")
    expected = torch.stack([double_sums(layer, row, prefix_len) for row in x])
    same(y, expected, 1e-10)
    zero, _ = layer(x, prefix_len=prefix_len)
    assert torch.count_nonzero(zero[:, :prefix_len]) == 0
    assert torch.equal(zero[:, prefix_len:], y[:, prefix_len:])


@pytest.mark.parametrize("prefix_len", [0, 5, 16, 37])
def test_the_loop_agrees_with_every_gradient(prefix_len):
    layer = build()
    results = []
    for fast in (True, False):
        x = inputs(3, 37, 4).requires_grad_()
        state = layer.prefill(inputs(3, 4, 4, seed=3))
        state = type(state)(*(field.detach().requires_grad_() for field in state))
        if fast:
            y, end = layer(x, state, prefix_len=prefix_len, prefix_output="return")
        else:
            y, end = prefix_attention_naive(layer, x, state, prefix_len)
        sources = [x, *state, *(p for n, p in layer.named_parameters() if "encoder" not in n)]
        if prefix_len:
            sources += [layer.encoder_key.weight, layer.encoder_value.weight]
        results.append((y, end, gradients(y, end, sources)))
    same(*results)


def test_gradcheck_with_a_prefix():
    layer = build(feature_dim=2)
    x, state = inputs(1, 6, 4).requires_grad_(), layer.prefill(inputs(1, 3, 4, seed=3))
    state = type(state)(*(field.detach().requires_grad_() for field in state))

    def run(given, s, z):
        y, end = layer(given, type(state)(s, z), prefix_len=3)
        return y, *end

    assert torch.autograd.gradcheck(run, (x, *state), atol=1e-6)


@pytest.mark.parametrize("prefix_len", [0, 1, 5, 17])
def test_steps_go_on_after_the_prefix(prefix_len):
    layer, x = build(), inputs(2, 17, 4)
    y, end = layer(x, prefix_len=prefix_len)
    _, after = layer(x[:, :prefix_len], prefix_len=prefix_len)
    state = layer.prefill(x[:, :prefix_len])
    same(state, after)
    out = []
    for x_t in x[:, prefix_len:].unbind(1):
        y_t, state = layer.step(x_t, state)
        out.append(y_t)
    same(state, end)
    if out:
        same(torch.stack(out, 1), y[:, prefix_len:])
    for cut in range(prefix_len, 18):
        first, middle = layer(x[:, :cut], prefix_len=prefix_len)
        second, last = layer(x[:, cut:], middle)
        same((torch.cat([first, second], 1), last), (y, end))


def test_a_prefix_joins_an_earlier_state():
    layer, x = build(), inputs(2, 12, 4)
    _, state = layer(x[:, :4])
    y, end = layer(x[:, 4:], state, prefix_len=3, prefix_output="return")
    same((y, end), prefix_attention_naive(layer, x[:, 4:], state, 3))
    filled = layer.prefill(x[:, 4:7], state)
    same(layer(x[:, 7:], filled), (y[:, 3:], end))


def jacobian_rows(y, x):
    """Which steps of x each step of y depends on, [time, time]."""
    rows = [torch.autograd.grad(y_t.sum(), x, retain_graph=True)[0] for y_t in y.unbind(1)]
    return torch.stack([(row != 0).any(-1).any(0) for row in rows])


def test_the_future_leaks_only_where_it_was_asked_for():
    layer, x = build(), inputs(1, 12, 4).requires_grad_()
    causal = torch.ones(12, 12, dtype=torch.bool).tril()
    assert torch.equal(jacobian_rows(layer(x)[0], x), causal)

    zeros = causal.clone()
    zeros[:5] = False
    y, _ = layer(x, prefix_len=5)
    assert torch.count_nonzero(y[:, :5]) == 0
    assert torch.equal(jacobian_rows(y, x), zeros)

    y, _ = layer(x, prefix_len=5, prefix_output="return")
    whole = causal.clone()
    whole[:5, :5] = True
    assert torch.equal(jacobian_rows(y, x), whole)


def test_a_loss_on_zeros_teaches_nothing():
    layer, x = build(), inputs(2, 9, 4).requires_grad_()
    y, _ = layer(x, prefix_len=9)
    found = torch.autograd.grad(y.square().sum() + y.sum(), [x, *layer.parameters()])
    assert all(torch.count_nonzero(grad) == 0 for grad in found)


@pytest.mark.parametrize("kind", ["int", "tensor"])
def test_short_prefixes_are_gated(kind):
    layer = build()
    x, lengths = inputs(5, 11, 4), torch.tensor([11, 8, 3, 0, 6])
    sizes = torch.tensor([6] * 5 if kind == "int" else [6, 0, 4, 2, 11])
    dirty = x.masked_fill((torch.arange(11) >= lengths[:, None])[..., None], torch.nan)
    dirty.requires_grad_()
    prefix_len = 6 if kind == "int" else sizes
    y, end = layer(dirty, lengths=lengths, prefix_len=prefix_len, prefix_output="return")
    found = gradients(y, end, [dirty, *layer.parameters()])
    padding = torch.arange(11) >= lengths[:, None]
    assert torch.count_nonzero(y[padding]) == 0 and torch.count_nonzero(found[0][padding]) == 0
    rows = x.clone().requires_grad_()
    own_y, own_end = [], []
    for row, (length, size) in enumerate(zip(lengths.tolist(), sizes.tolist(), strict=True)):
        out, last = layer(
            rows[row : row + 1, :length], prefix_len=min(size, length), prefix_output="return"
        )
        own_y.append(torch.cat([out, out.new_zeros(1, 11 - length, 4)], 1))
        own_end.append(last)
    own = torch.cat(own_y), type(end)(*(torch.cat(f) for f in zip(*own_end, strict=True)))
    same((y, end), own)
    same(found, gradients(*own, [rows, *layer.parameters()]))
    zero, _ = layer(dirty, lengths=lengths, prefix_len=prefix_len)
    inside = torch.arange(11) < sizes[:, None]
    assert torch.equal(zero, y.masked_fill(inside[..., None], 0))


def test_short_prefixes_fill_what_they_have():
    layer, x, lengths = build(), inputs(3, 7, 4), torch.tensor([7, 0, 3])
    dirty = x.masked_fill((torch.arange(7) >= lengths[:, None])[..., None], torch.inf)
    state = layer.prefill(dirty, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        own = layer.prefill(x[row : row + 1, :length])
        same([field[row : row + 1] for field in state], list(own))
    assert torch.count_nonzero(state.s[1]) == torch.count_nonzero(state.z[1]) == 0


def test_a_reset_drops_the_prefix():
    layer, x = build(), inputs(2, 12, 4)
    _, before = layer(inputs(2, 3, 4, seed=2))
    reset = torch.zeros(2, 12, dtype=torch.bool)
    reset[0, 8] = reset[1, 0] = True
    y, end = layer(x, before, reset=reset, prefix_len=5, prefix_output="return")
    whole, _ = layer(x, before, prefix_len=5, prefix_output="return")
    fresh, last = layer(x[:1, 8:])
    same((y[0, :8], y[:1, 8:]), (whole[0, :8], fresh))
    alone, alone_last = layer(x[1:], prefix_len=5, prefix_output="return")
    same(y[1:], alone)
    joined = [torch.cat(fields) for fields in zip(last, alone_last, strict=True)]
    same(list(end), joined)
    reset[0, 4] = True
    with pytest.raises(ValueError, match="reset must not be True inside a prefix"):
        layer(x, reset=reset, prefix_len=5)
    layer(x, reset=reset, prefix_len=torch.tensor([4, 5]))
    layer(x, reset=reset, prefix_len=5, lengths=torch.tensor([3, 12]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_what_is_not_finite_passes_neither_a_reset_nor_the_end_of_a_prefix(value):
    layer, x = build(), inputs(2, 12, 4)
    reset = torch.zeros(2, 12, dtype=torch.bool)
    reset[0, 7] = True
    dirty = x.clone()
    dirty[0, 4] = value  # after its prefix of 2, inside the other row's of 5
    kept = torch.ones(2, 12, dtype=torch.bool)
    kept[0, :7] = False
    results = []
    for given in (x.requires_grad_(), dirty.requires_grad_()):
        sizes = torch.tensor([2, 5])
        y, end = layer(given, reset=reset, prefix_len=sizes, prefix_output="return")
        (grad,) = gradients(y[kept], end, [given])
        results.append((y[kept], end, grad[kept]))
    same(*results)


def test_equal_keys_give_means_and_float32_is_close():
    layer = build()
    x = inputs(2, 130, 4)
    exact, _ = layer(x, prefix_len=40)
    single, _ = build(torch.float32)(x.float(), prefix_len=40)
    assert (single - exact).abs().max() <= 1e-4 * max(1, float(exact.detach().abs().max()))
    with torch.no_grad():
        layer.key.weight.zero_()
        layer.encoder_key.weight.zero_()
    y, _ = layer(x, prefix_len=40)
    count = torch.arange(1, 131)[:, None] + 40
    sums = layer.value(x).cumsum(1) + layer.encoder_value(x[:, :40]).sum(1, keepdim=True)
    same(y[:, 40:], layer.output(sums / count)[:, 40:])


def test_wrong_arguments():
    layer, x = build(), inputs(2, 5, 4)
    with pytest.raises(ValueError, match=r"prefix_len must be .* in \[0, 5\], .* got -1"):
        layer(x, prefix_len=-1)
    with pytest.raises(ValueError, match=r"prefix_len must be .* got \[3, -2\]"):
        layer(x, prefix_len=torch.tensor([3, -2]))
    with pytest.raises(ValueError, match=r"prefix must be \[batch, time, 4\]"):
        layer.prefill(x[..., :3])
    with pytest.raises(ValueError, match="num_heads must divide input_dim 5, got 2"):
        PrefixLinearAttention(5, 2)
    with pytest.raises((ValueError, TypeError), match="prefix_output"):
        layer(x, prefix_len=2, prefix_output="retrun")
    assert layer(x[:, :0], prefix_len=0)[0].shape == (2, 0, 4)
    assert layer(x[:0], prefix_len=torch.zeros(0, dtype=torch.int64))[0].shape == (0, 5, 4)
