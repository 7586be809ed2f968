"""S2IP-LLM against its steps written out, its laws, its switches."""

from dataclasses import replace

import forecast_peer
import pytest
import torch
from tiny_models import tiny_gpt2
from torch import nn
from torch.nn import functional

from forecasting.backbone import wrap
from forecasting.baselines.ridge import Ridge
from forecasting.decomposition import decompose
from forecasting.language_model import word_embeddings
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from forecasting.s2ip_heads import S2ipHead, published_head_naive

CONTEXT, HORIZON, CHANNELS = 48, 8, 3
CONFIG = S2ipConfig(
    trend_window=12, season=6, patch_length=8, stride=4, retrieved=4,
    anchors=AnchorConfig(map="linear", count=20), backbone=BackboneConfig(model="tiny"),
)  # fmt: skip


def _build(config: S2ipConfig = CONFIG, **options: int) -> S2IP:
    torch.manual_seed(0)
    model = tiny_gpt2()
    sizes = {"context": CONTEXT, "horizon": HORIZON} | options
    backbone = (wrap(model, config.backbone), word_embeddings(model))
    return S2IP(config=config, backbone=backbone, **sizes).eval()


def _official(network: S2IP, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The released code's steps on the network's own weights: forecast and alignment."""
    assert network.anchors is not None
    anchor_map = nn.Linear(*reversed(network.anchors.weight.shape))
    anchor_map.weight, anchor_map.bias = network.anchors.weight, network.anchors.bias
    parts = forecast_peer.Parts(
        network.embed, anchor_map, network.anchors.words, network.blocks, network.head.linear
    )
    return forecast_peer.forecast(x, parts, network.config)


def test_equals_the_official_steps_and_their_gradients() -> None:
    network = _build().double()  # cosines are float32 even so
    x = torch.randn(2, CONTEXT, CHANNELS).double().cumsum(1)
    y = torch.randn(2, HORIZON, CHANNELS).double()
    wanted, alignment = _official(network, x)
    loss = forecast_peer.loss((wanted, alignment), y, 0.05)
    names = [name for name, weight in network.named_parameters() if weight.requires_grad]
    weights = [network.get_parameter(name) for name in names]
    expected = torch.autograd.grad(loss, weights, allow_unused=True)
    torch.testing.assert_close(network(x), wanted)
    own, parts = network.loss(x, y)
    torch.testing.assert_close(own, loss, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(parts["alignment"].double(), alignment, rtol=1e-6, atol=1e-6)
    found = torch.autograd.grad(own, weights, allow_unused=True)
    for name, one, other in zip(names, found, expected, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_frozen_blocks_compute_what_transformers_does() -> None:
    """With one kernel for the activation, and gradients too."""
    tokens = torch.randn(2, 9, 48)
    plain, fused = tiny_gpt2().eval(), wrap(tiny_gpt2(), CONFIG.backbone).eval()
    kinds = {type(module).__name__ for module in fused.modules()}
    assert "GELU" in kinds and "NewGELUActivation" not in kinds
    found, gradients = [], []
    for blocks in (fused, lambda given: plain(inputs_embeds=given).last_hidden_state):
        given = tokens.clone().requires_grad_()
        found.append(blocks(given))
        gradients.append(torch.autograd.grad(found[-1].pow(3).sum(), given)[0])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", ["published", "flatten", "patches", "last", "mean", "components"])
def test_laws_with_every_head(head: str) -> None:
    """Channels and batch may be permuted; x -> a x + b gives a y + b; constants stay finite."""
    network = _build(replace(CONFIG, head=head))
    x = torch.randn(3, CONTEXT, CHANNELS)
    with torch.no_grad():
        y = network(x)
        assert y.shape == (3, HORIZON, CHANNELS)
        permuted = network(x[[2, 0, 1]][..., [1, 2, 0]])
        torch.testing.assert_close(permuted, y[[2, 0, 1]][..., [1, 2, 0]], rtol=0, atol=1e-5)
        torch.testing.assert_close(network(x[..., :1]), y[..., :1], rtol=0, atol=1e-5)
        torch.testing.assert_close(network(3 * x + 5), 3 * y + 5, rtol=1e-3, atol=1e-3)
        assert network(torch.full((1, CONTEXT, 1), 4.0)).isfinite().all()


def test_published_head_is_a_sum_of_thirds() -> None:
    torch.manual_seed(0)
    head = S2ipHead("published", prefix=4, tokens=8, dim=6, horizon=5)
    hidden = torch.randn(3, 12, 6, requires_grad=True)
    found, wanted = head(hidden)[:, 0], published_head_naive(head, hidden)
    torch.testing.assert_close(found, wanted)
    parameters = [hidden, *head.parameters()]
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), parameters, retain_graph=True),
        torch.autograd.grad(wanted.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_flatten_is_the_papers_map_split_and_summed() -> None:
    """A map to 3 H, split and summed, is one map with summed weights."""
    torch.manual_seed(0)
    wide = S2ipHead("components", prefix=2, tokens=4, dim=6, horizon=5)
    narrow = S2ipHead("flatten", prefix=2, tokens=4, dim=6, horizon=5)
    with torch.no_grad():
        narrow.linear.weight.copy_(wide.linear.weight.unflatten(0, (3, 5)).sum(0))
        narrow.linear.bias.copy_(wide.linear.bias.unflatten(0, (3, 5)).sum(0))
    hidden = torch.randn(3, 6, 6)
    torch.testing.assert_close(wide(hidden).sum(1), narrow(hidden)[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("retrieved", [0, 1, 4, 16])
def test_any_prefix_and_odd_patches(retrieved: int) -> None:
    config = replace(CONFIG, retrieved=retrieved, head="flatten", patch_length=7, stride=5)
    network = _build(config)
    x = torch.randn(2, CONTEXT, CHANNELS)
    assert network(x).shape == (2, HORIZON, CHANNELS)
    chosen = network.retrieved(x)
    assert chosen.anchors.shape == (2 * CHANNELS, retrieved)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="no multiple of three"):
        S2ipHead("published", prefix=1, tokens=4, dim=4, horizon=2)
    with pytest.raises(ValueError, match="trend_window 96 is longer than the context, 48"):
        _build(replace(CONFIG, trend_window=96))
    with pytest.raises(ValueError, match=r"retrieved must lie in 0 .. anchors.count \(20\)"):
        replace(CONFIG, retrieved=21)
    with pytest.raises(ValueError, match="needs a decomposition"):
        replace(CONFIG, decomposition="none", head="components")
    with pytest.raises(ValueError, match="x must have 48 steps"):
        _build()(torch.randn(1, 40, 1))


def test_anchors_are_kept_until_something_changes() -> None:
    network = _build()
    x = torch.randn(1, CONTEXT, 1)
    with torch.no_grad():
        first = network(x)
        kept = network._kept
        assert kept is not None and torch.equal(network(x), first) and network._kept is kept
        assert network.anchors is not None
        network.anchors.weight += 0.5
        changed = network(x)
        assert network._kept is not kept and not torch.equal(changed, first)
    other = _build()
    other(x)
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(x), changed)


def test_no_alignment_without_its_weight() -> None:
    x, y = torch.randn(2, CONTEXT, 2), torch.randn(2, HORIZON, 2)
    _, parts = _build(replace(CONFIG, align_weight=0.0)).loss(x, y)
    assert set(parts) == {"mse"}
    weighted, parts = _build(replace(CONFIG, align_weight=0.5)).loss(x, y)
    torch.testing.assert_close(weighted, parts["mse"] - 0.5 * parts["alignment"])


def test_components_are_asked_for_their_parts() -> None:
    network = _build(replace(CONFIG, head="components", align_weight=0.0, component_weight=2.0))
    x, y = torch.randn(2, CONTEXT, 1), torch.randn(2, HORIZON, 1)
    loss, parts = network.loss(x, y)
    torch.testing.assert_close(loss, parts["mse"] + 2 * parts["components"])
    mean = x.mean(1, keepdim=True)
    std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
    whole = ((torch.cat([x, y], 1) - mean) / std)[..., 0]
    wanted = decompose(whole, 12, 6)[..., CONTEXT:]
    steps = network._steps(x)
    torch.testing.assert_close(parts["components"], functional.mse_loss(steps.parts, wanted))


@pytest.mark.parametrize("affine", [False, True])
def test_parts_sum_to_the_forecast(affine: bool) -> None:
    network = _build(replace(CONFIG, head="components", norm_affine=affine))
    if network.norm_scale is not None and network.norm_shift is not None:
        network.norm_scale.data.fill_(2.0)
        network.norm_shift.data.fill_(0.3)
    x = torch.randn(2, CONTEXT, CHANNELS) + torch.tensor([0.0, 50.0, -9.0])
    parts = network.forecast_parts(x)
    assert parts.shape == (2, 3, HORIZON, CHANNELS)
    with torch.no_grad():
        torch.testing.assert_close(parts.sum(1), network(x), rtol=1e-4, atol=1e-4)
    assert parts[:, 0, :, 1].mean() > 40 and parts[:, 1:].abs().max() < 20
    with pytest.raises(ValueError, match="head published has no parts of a forecast: train with"):
        _build().forecast_parts(x)


def test_the_prompt_is_what_the_blocks_are_given() -> None:
    network, x = _build(), torch.randn(2, CONTEXT, CHANNELS)
    given: list[torch.Tensor] = []
    network.blocks.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    prompt = network.prompt(x)
    assert not given  # the blocks are not run
    network(x)
    torch.testing.assert_close(given[0], prompt.sequence)
    torch.testing.assert_close(prompt.sequence[:, 4:], prompt.tokens)
    assert network.anchors is not None
    torch.testing.assert_close(
        prompt.sequence[:, 0], network.anchors()[prompt.retrieved.anchors[:, 0]]
    )


def test_affine_norm_starts_as_no_norm_and_is_undone() -> None:
    plain, affine = _build(), _build(replace(CONFIG, norm_affine=True))
    x = torch.randn(2, CONTEXT, 2)
    with torch.no_grad():
        affine.load_state_dict(plain.state_dict() | {
            "norm_scale": torch.ones(()), "norm_shift": torch.zeros(())
        })  # fmt: skip
        torch.testing.assert_close(affine(x), plain(x))
        affine.norm_scale.fill_(2.0)
        affine.norm_shift.fill_(0.3)
        torch.testing.assert_close(affine(3 * x + 5), 3 * affine(x) + 5, rtol=1e-3, atol=1e-3)


def test_the_future_of_a_window_is_not_in_it() -> None:
    """Values at and after the target leave the forecast as it is, bit for bit."""
    network, table = _build(), torch.randn(CONTEXT + HORIZON, 1)
    changed = table.clone()
    changed[CONTEXT:] = 1e6
    with torch.no_grad():
        one, other = (network(rows[None, :CONTEXT]) for rows in (table, changed))
    assert torch.equal(one, other)


def test_learns_two_seasons_better_than_repeating_them() -> None:
    """In seconds on a CPU, with the same network without a language model beside it."""
    torch.manual_seed(0)
    t = torch.arange(1200.0)
    series = torch.sin(t * 2 * torch.pi / 6) + torch.sin(t * 2 * torch.pi / 10)
    noisy = series + 0.3 * torch.randn(1200)
    windows = noisy.unfold(0, CONTEXT + HORIZON, 1)[..., None]
    train, test = windows[:900], windows[1000:]
    x, y = test[:, :CONTEXT], test[:, CONTEXT:]
    repeated = torch.cat([x[:, -6:], x[:, -6:]], 1)[:, :HORIZON]
    naive = functional.mse_loss(repeated, y).item()
    for kind in ("pretrained", "none"):
        config = replace(
            CONFIG, anchors=AnchorConfig(count=20), backbone=BackboneConfig(kind=kind, model="tiny")
        )
        network = _build(config).train()
        optimizer = torch.optim.Adam(
            [weight for weight in network.parameters() if weight.requires_grad], lr=3e-3
        )
        for _ in range(60):
            rows = train[torch.randint(len(train), (64,))]
            loss, _ = network.loss(rows[:, :CONTEXT], rows[:, CONTEXT:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            found = functional.mse_loss(network.eval()(x), y).item()
        assert found < 0.5 * naive, (kind, found, naive)


def test_gated_linear_path() -> None:
    network = _build(replace(CONFIG, linear_path="trained"))
    plain = _build()
    assert network.gate is not None and network.linear is not None and plain.gate is None
    x = torch.randn(2, CONTEXT, CHANNELS).cumsum(1)
    mean, std = x.mean(1, keepdim=True), torch.sqrt(x.var(1, keepdim=True, correction=0) + 1e-5)
    assert float(network.gate) == 0.5
    with torch.no_grad():  # alone, and not at all
        network.linear.weight.normal_()
        network.gate_logit.fill_(100.0)
        alone = network.linear(((x - mean) / std).transpose(1, 2)).transpose(1, 2) * std + mean
        torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-4)
        network.gate_logit.fill_(-100.0)
        state = {
            name: value
            for name, value in network.state_dict().items()
            if "linear." not in name or name.startswith("head")
        }
        state.pop("gate_logit")
        plain.load_state_dict(state)
        torch.testing.assert_close(network(x), plain(x))
    network.gate_logit.data.zero_()
    loss, parts = network.loss(x, torch.randn(2, HORIZON, CHANNELS))
    loss.backward()
    assert float(parts["gate"]) == 0.5
    assert network.gate_logit.grad is not None and float(network.gate_logit.grad.abs()) > 0
    with pytest.raises(ValueError, match="linear_path has no components"):
        replace(CONFIG, linear_path="trained", head="components")


def test_a_solved_linear_path_stays() -> None:
    network = _build(replace(CONFIG, linear_path="ridge"))
    x = torch.randn(2, CONTEXT, CHANNELS).cumsum(1)
    ridge = Ridge(CONTEXT, HORIZON)
    ridge.weight.normal_(0, 0.1)
    network.set_linear_path(ridge.weight)
    assert network.gate_logit is not None and network.linear is not None
    network.gate_logit.data.fill_(100.0)
    torch.testing.assert_close(network(x), ridge(x), rtol=1e-4, atol=1e-4)
    assert not network.linear.weight.requires_grad
    with pytest.raises(ValueError, match="linear_path is not ridge"):
        _build().set_linear_path(ridge.weight)
