"""Aaren against attention: one learned query over all steps so far."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from foretell.blocks.aaren import Aaren, AarenBlock, AarenState
from foretell.blocks.scan import naive
from foretell.blocks.scan.softmax import softmax_scan, softmax_scan_tree


def build(*sizes, **options):
    torch.manual_seed(0)
    layer = Aaren(*sizes, **options).double()
    for parameter in layer.parameters():  # Biases, too.
        nn.init.normal_(parameter)
    return layer


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def project(layer, x):
    """Query, keys and values, [batch, heads, time, head_dim]."""
    heads = (layer.num_heads, layer.head_dim)
    q = layer.query(layer.token).view(heads)[None, :, None]
    k, v = (part(x).unflatten(-1, heads).transpose(1, 2) for part in (layer.key, layer.value))
    return q, k, v


def masked_softmax(s, v):
    """Softmax averages of the first 1, 2, ... values by the whole matrix of weights."""
    time = s.shape[-1]
    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    return s[..., None, :].expand(*s.shape, time).masked_fill(future, -torch.inf).softmax(-1) @ v


def scores_are_inputs():
    """Layer with scores x[..., 0] and outputs that are averages of x[..., 1]."""
    layer = Aaren(2, 1, head_dim=1, output_dim=1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.query.bias.fill_(1)
        layer.key.weight[0, 0] = layer.value.weight[0, 1] = layer.output.weight[0, 0] = 1
    return layer


def gradients(y, sources):
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)
    return torch.autograd.grad((weights * y).sum(), sources, retain_graph=True)


@pytest.mark.parametrize("time", [1, 2, 17, 37, 64, 65, 130])
@pytest.mark.parametrize("scan_fn", [softmax_scan, softmax_scan_tree, naive.softmax_scan])
def test_it_is_masked_softmax_attention(scan_fn, time):
    layer = build(5, 2, head_dim=3, scan_fn=scan_fn)
    x = inputs(3, time, 5).requires_grad_()
    sources = [x, *layer.parameters()]
    y, _ = layer(x)
    q, k, v = project(layer, x)
    expected = masked_softmax((q * k).sum(-1) / 3**0.5, v)
    expected = layer.output(expected.transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(y, sources), gradients(expected, sources), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_every_step_is_attention_of_the_repeated_query():
    layer, x = build(6, 3), inputs(2, 40, 6).requires_grad_()
    sources = [x, *layer.parameters()]
    y, _ = layer(x)
    q, k, v = project(layer, x)
    attended = functional.scaled_dot_product_attention(q.expand_as(k), k, v, is_causal=True)
    whole = layer.output(attended.transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, whole, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(y, sources), gradients(whole, sources), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for t in (0, 1, 31, 32, 39):
        seen = functional.scaled_dot_product_attention(
            q.expand(2, -1, 1, -1), k[:, :, : t + 1], v[:, :, : t + 1]
        )
        _, state = layer(x[:, : t + 1])
        torch.testing.assert_close(layer.readout(state), seen.flatten(1), rtol=0, atol=1e-10)


def test_a_block_is_a_transformer_block_with_one_token_more():
    aaren = AarenBlock(512, 8, feedforward_dim=2048)
    transformer = nn.TransformerEncoderLayer(512, 8, 2048)
    counts = [sum(p.numel() for p in block.parameters()) for block in (aaren, transformer)]
    assert counts == [3_152_896, 3_152_384]


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_on_one_step_a_block_equals_a_transformer_block(pre_norm, activation):
    torch.manual_seed(0)
    block = AarenBlock(6, 2, feedforward_dim=7, pre_norm=pre_norm, activation=activation).double()
    peer = nn.TransformerEncoderLayer(
        6, 2, 7, 0.0, activation, batch_first=True, norm_first=pre_norm, dtype=torch.float64
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    own = block.attention
    parts = {
        "self_attn.out_proj": own.output,
        "linear1": block.expand,
        "linear2": block.contract,
        "norm1": block.attention_norm,
        "norm2": block.feedforward_norm,
    }
    weights = {
        f"{name}.{kind}": getattr(part, kind)
        for name, part in parts.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        joined = [getattr(part, kind) for part in (own.query, own.key, own.value)]
        weights[f"self_attn.in_proj_{kind}"] = torch.cat(joined)
    peer.load_state_dict(weights)
    x = inputs(4, 1, 6)
    torch.testing.assert_close(block(x)[0], peer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scan_fn", [softmax_scan, softmax_scan_tree])
def test_equal_scores_give_running_means(scan_fn):
    layer = build(4, 2, scan_fn=scan_fn)
    with torch.no_grad():
        layer.key.weight.zero_()
    x = inputs(2, 33, 4).requires_grad_()
    y, state = layer(x)
    _, _, v = project(layer, x)
    means = v.cumsum(2) / torch.arange(1, 34)[:, None]
    torch.testing.assert_close(y, layer.output(means.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(state.u, torch.full_like(state.u, 33))
    sources = [x, layer.token, layer.key.weight, layer.query.weight]
    q, k, _ = project(layer, x)
    expected = masked_softmax((q * k).sum(-1) / layer.head_dim**0.5, v)
    expected = layer.output(expected.transpose(1, 2).flatten(2))
    for ours, theirs in zip(gradients(y, sources), gradients(expected, sources), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert torch.count_nonzero(gradients(layer(x)[0], [layer.key.weight])[0]) > 0


@pytest.mark.parametrize("slope", [0.2, -0.2, 50.0, -50.0])
@pytest.mark.parametrize("scan_fn", [softmax_scan, softmax_scan_tree])
def test_rising_and_falling_scores_stay_finite_and_right(scan_fn, slope):
    layer = scores_are_inputs()
    layer.scan_fn = scan_fn
    s = slope * torch.arange(1024, dtype=torch.float64)
    v = inputs(1024)
    x = torch.stack([s, v], -1)[None].float().requires_grad_()
    y, state = layer(x)
    exact = x.detach().double().requires_grad_()
    expected = masked_softmax(exact[..., 0], exact[..., 1:])
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)
    assert all(torch.isfinite(field).all() for field in state)
    (ours,), (theirs,) = gradients(y, [x]), gradients(expected, [exact])
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_jumping_scores_stay_finite_in_steps_too():
    layer = scores_are_inputs()
    jumps = torch.tensor([0.0, 50, -50, 50, 100, -100, 1e4, -1e4, 1e4])
    x = torch.stack([jumps, torch.arange(9.0)], -1)[None]
    state, out = layer.init_state(1), []
    for x_t in x.unbind(1):
        y_t, state = layer.step(x_t, state)
        out.append(y_t)
    expected = torch.tensor([0.0, 1, 1, 2, 4, 4, 6, 6, 7])  # Ties are shared: (1 + 3) / 2.
    torch.testing.assert_close(torch.stack(out, 1)[0, :, 0], expected)
    torch.testing.assert_close(layer(x)[0][0, :, 0], expected)


@pytest.mark.parametrize("seed_dim", [None, 7])
def test_a_seed_is_a_token_of_score_zero(seed_dim):
    layer = build(4, 2, seed_dim=seed_dim)
    h, x = inputs(3, seed_dim or 4).requires_grad_(), inputs(3, 9, 4)
    state = layer.seed_state(h)
    y, _ = layer(x, state)
    q, k, v = project(layer, x)
    s = functional.pad((q * k).sum(-1) / layer.head_dim**0.5, (1, 0))
    own = (layer.value if seed_dim is None else layer.seed)(h)
    v = torch.cat([own.view(3, 2, 1, 2), v], 2)
    expected = layer.output(masked_softmax(s, v)[:, :, 1:].transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradients(y, [h]), gradients(expected, [h]))
    torch.testing.assert_close(layer.readout(state), own)
    assert torch.count_nonzero(layer.readout(layer.init_state(2))) == 0
    with pytest.raises(ValueError, match="seed must have width"):
        layer.seed_state(h[:, 1:])


def test_a_block_starts_from_a_seed():
    torch.manual_seed(0)
    block = AarenBlock(4, 2, seed_dim=3).double()
    seed = inputs(2, 3)
    state = block.seed_state(seed)
    torch.testing.assert_close(block.readout(state), block.attention.seed(seed))
    assert not torch.equal(block(inputs(2, 5, 4), state)[0], block(inputs(2, 5, 4))[0])


def test_the_maximum_is_a_free_scale_and_a_constant():
    layer, x = build(4, 2), inputs(2, 9, 4).requires_grad_()
    _, state = layer(x[:, :4])
    assert not state.m.requires_grad and state.u.requires_grad and state.w.requires_grad
    scaled = AarenState(state.m + 3, state.u * torch.e**-3, state.w * torch.e**-3)
    results = [layer(x[:, 4:], start)[0] for start in (state, scaled)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(gradients(results[0], [x]), gradients(results[1], [x]))
    whole = layer(x)[0][:, 4:]
    torch.testing.assert_close(gradients(whole, [x]), gradients(results[0], [x]))


def test_large_scores_before_a_reset_do_not_drown_those_after():
    layer = scores_are_inputs()
    scores = torch.tensor([1e4, 1e4, 0.0, 0.0])
    x = torch.stack([scores, torch.tensor([1.0, 2, 3, 5])], -1)[None].requires_grad_()
    reset = torch.tensor([[False, False, True, False]])
    y, state = layer(x, reset=reset)
    torch.testing.assert_close(y[0, :, 0], torch.tensor([1.0, 1.5, 3, 4]))
    assert float(state.m) == 0 and float(state.u.detach()) == 2
    assert torch.isfinite(gradients(y, [x])[0]).all()


def test_dropout_is_for_training():
    torch.manual_seed(0)
    block, x = AarenBlock(4, 2, dropout=0.5), torch.randn(2, 5, 4)
    assert not torch.equal(block(x)[0], block(x)[0])
    block.eval()
    assert torch.equal(block(x)[0], block(x)[0])


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide input_dim 5, got 2"):
        Aaren(5, 2)
    with pytest.raises(ValueError, match="num_heads must divide"):
        AarenBlock(4, 0)
    assert Aaren(5, 2, head_dim=3).extra_repr().endswith("num_heads=2, head_dim=3")


def test_scan_options_travel_with_the_layer():
    layer, x = build(4, 2), inputs(2, 37, 4)
    expected, _ = layer(x)
    for size in (1, 5, 16, 64):
        layer.scan_fn = partial(softmax_scan, chunk_size=size)
        torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)
