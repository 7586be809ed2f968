"""Every forecaster: shapes, what may be permuted or rescaled, and independent references."""

from typing import Any

import pytest
import torch
from torch import nn

from forecasting.build import build_forecaster, count_weights
from forecasting.config import NetworksConfig
from forecasting.instance_norm import normalise, restore
from forecasting.linear import DLinear, NLinear
from forecasting.mixers import MixerForecaster
from forecasting.model_config import (
    DLinearConfig,
    MixerForecasterConfig,
    PatchTstConfig,
    mixer_preset,
)
from forecasting.patches import cut_patches, num_patches
from forecasting.patchtst import PatchTST

CONTEXT, HORIZON, CHANNELS = 48, 12, 3
TRAINED = ("nlinear", "dlinear", "patchtst", "lstm", "lssl", "mamba2", "aaren", "titans")
NAMES = ("last", "seasonal_naive", "drift", "ridge", *TRAINED)


def _build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = build_forecaster(name, NetworksConfig(), context=CONTEXT, horizon=HORIZON, season=24)
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_batch_and_channels_may_be_permuted_and_stand_alone(name: str) -> None:
    network, x = _build(name), torch.randn(4, CONTEXT, CHANNELS)
    with torch.no_grad():
        y = network(x)
        assert y.shape == (4, HORIZON, CHANNELS)
        rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
        torch.testing.assert_close(
            network(x[rows][..., columns]), y[rows][..., columns], rtol=0, atol=1e-5
        )
        torch.testing.assert_close(network(x[:1, :, 1:2]), y[:1, :, 1:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dlinear",)])
def test_shift_and_scale_go_through(name: str) -> None:
    """x -> a x + b gives a y + b; of NLinear a shift alone, as its bias does not scale."""
    network, x = _build(name), torch.randn(2, CONTEXT, CHANNELS)
    scale = 1.0 if name == "nlinear" else 3.0
    with torch.no_grad():
        torch.testing.assert_close(
            network(scale * x + 5), scale * network(x) + 5, rtol=1e-3, atol=2e-3
        )


@pytest.mark.parametrize("name", NAMES)
def test_constant_window_is_finite(name: str) -> None:
    with torch.no_grad():
        assert _build(name)(torch.full((2, CONTEXT, 1), 7.0)).isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_every_weight_gets_a_gradient(name: str) -> None:
    network = _build(name).train()
    network(torch.randn(8, CONTEXT, CHANNELS)).square().mean().backward()
    missing = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert not missing
    assert count_weights(network) == sum(weight.numel() for weight in network.parameters())


def test_nlinear_and_dlinear_by_hand() -> None:
    nlinear = NLinear(3, 1)
    with torch.no_grad():
        nlinear.linear.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
        nlinear.linear.bias.fill_(0.5)
        # (1, 3, 4) - 4 = (-3, -1, 0): -5 + 0.5 + 4
        assert nlinear(torch.tensor([[[1.0], [3.0], [4.0]]])).item() == -0.5
    dlinear = DLinear(3, 1, DLinearConfig(trend_window=3))
    with torch.no_grad():
        dlinear.trend.weight.copy_(torch.tensor([[1.0, 1.0, 1.0]]))
        dlinear.rest.weight.copy_(torch.tensor([[0.0, 0.0, 6.0]]))
        dlinear.trend.bias.zero_()
        dlinear.rest.bias.fill_(1.0)
        # averages of (1,1,4), (1,4,7), (4,7,7): 2, 4, 6; rest of the last: 1
        x = torch.tensor([[[1.0], [4.0], [7.0]]])
        assert dlinear(x).item() == pytest.approx(12 + 6 + 1)
    with pytest.raises(ValueError, match="trend_window must be odd"):
        DLinearConfig(trend_window=4)


def test_nlinear_trained_long_reaches_its_closed_form() -> None:
    """Within 1 % of ridge without penalty, centred by the last value, with the bias as a column."""
    torch.manual_seed(0)
    t = torch.arange(400.0)
    series = torch.sin(t / 4) + 0.3 * torch.randn(400)
    windows = series.unfold(0, 12, 1)[..., None]
    x, y = windows[:, :8], windows[:, 8:]
    centred = (x - x[:, -1:])[..., 0]
    design = torch.cat([centred, torch.ones(len(x), 1)], 1).double()
    solved = torch.linalg.lstsq(design, (y - x[:, -1:])[..., 0].double()).solution
    best = ((y - x[:, -1:])[..., 0].double() - design @ solved).square().mean()
    model = NLinear(8, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(1500):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.01 * best.item()


def test_patches() -> None:
    x = torch.arange(10.0)[None]
    patches = cut_patches(x, 4, 3)
    assert patches.tolist() == [
        [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [9, 9, 9, 9]]
    ]  # fmt: skip
    assert patches.shape[1] == num_patches(10, 4, 3) == 4
    assert num_patches(512, 16, 8) == 64
    # 11 - 4 is not a multiple of 3: what is left over on the right is dropped
    assert cut_patches(torch.arange(11.0)[None], 4, 3).shape[1] == num_patches(11, 4, 3)
    with pytest.raises(ValueError, match="longer than the context"):
        num_patches(8, 16, 8)


def test_norm_and_back() -> None:
    x = torch.randn(2, 30, 3) * 4 + 1
    normed, scale = normalise(x)
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        normed.var(1, unbiased=False), torch.ones(2, 3), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(restore(normed, scale), x)


def test_patchtst_attention_equals_torch_without_the_residual_scores() -> None:
    """Its first layer, whose scores have nothing before them."""
    from forecasting.patchtst import _Layer

    torch.manual_seed(0)
    config = PatchTstConfig(dim=8, num_heads=2, feedforward_dim=16, dropout=0.0)
    layer = _Layer(config).eval()
    x = torch.randn(3, 5, 8)
    stock = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        stock.in_proj_weight.copy_(layer.qkv.weight)
        stock.in_proj_bias.copy_(layer.qkv.bias)
        stock.out_proj.load_state_dict(layer.out.state_dict())
        mixed = stock(x, x, x)[0]
        found = (x + mixed) / (1 + layer.norms[0].eps) ** 0.5
        wanted = (found + layer.mlp(found)) / (1 + layer.norms[1].eps) ** 0.5
        torch.testing.assert_close(layer(x, None)[0], wanted)


def test_steps_as_tokens_and_last_head() -> None:
    config = MixerForecasterConfig(mixer_preset("lstm"), tokens="step", head="last", dim=4)
    torch.manual_seed(0)
    network = MixerForecaster(CONTEXT, HORIZON, config).eval()
    x = torch.randn(2, CONTEXT, 1)
    normed, scale = normalise(x)
    with torch.no_grad():
        mixed, _ = network.mixer(network.embed(normed))
        wanted = restore(network.head(mixed[:, -1])[..., None], scale)
        torch.testing.assert_close(network(x), wanted)
    with pytest.raises(ValueError, match="no effect with tokens step"):
        MixerForecasterConfig(tokens="step", stride=4)


@pytest.mark.parametrize("kind", ["lstm", "lssl", "mamba2", "aaren", "titans"])
def test_a_stream_equals_a_pass_with_the_first_windows_statistics(kind: Any) -> None:
    config = MixerForecasterConfig(mixer_preset(kind), tokens="step", head="last", dim=8)
    torch.manual_seed(0)
    network = MixerForecaster(CONTEXT, HORIZON, config).eval()
    x = torch.randn(2, CONTEXT + 5, CHANNELS).cumsum(1)
    with torch.no_grad():
        first, stream = network.start(x[:, :CONTEXT])
        torch.testing.assert_close(first, network(x[:, :CONTEXT]))
        for place in range(CONTEXT, CONTEXT + 5):
            found, stream = network.step(x[:, place], stream)
            normed = (x[:, : place + 1] - stream.scale.mean) / stream.scale.std
            mixed, _ = network.mixer(network.embed(normed.transpose(1, 2).flatten(0, 1)[..., None]))
            wanted = network.head(mixed[:, -1]).unflatten(0, (2, CHANNELS)).transpose(1, 2)
            torch.testing.assert_close(found, restore(wanted, stream.scale), rtol=1e-4, atol=1e-4)
    patches = MixerForecaster(CONTEXT, HORIZON, MixerForecasterConfig(mixer_preset(kind)))
    with pytest.raises(ValueError, match="streaming needs tokens step, head last"):
        patches.start(x)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="must divide dim"):
        PatchTstConfig(dim=10, num_heads=4)
    with pytest.raises(ValueError, match="longer than the context"):
        PatchTST(8, 4)
