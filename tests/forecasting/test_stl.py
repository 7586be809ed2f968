"""STL: statsmodels' parts, kept by content within a bound, no gradient to the input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny_gpt2

from forecasting.backbone import wrap
from forecasting.language_model import word_embeddings
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from forecasting.stl import Stl

seasonal = pytest.importorskip("statsmodels.tsa.seasonal")

CONFIG = S2ipConfig(
    decomposition="stl", season=6, patch_length=8, stride=4, retrieved=4,
    anchors=AnchorConfig(count=20), backbone=BackboneConfig(model="tiny"),
)  # fmt: skip


def _build(config: S2ipConfig = CONFIG) -> S2IP:
    torch.manual_seed(0)
    model = tiny_gpt2()
    return S2IP(48, 8, config, backbone=(wrap(model, config.backbone), word_embeddings(model)))


def test_equals_statsmodels_and_sums_to_x() -> None:
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(1)).double().cumsum(1)
    parts = Stl(12)(x)
    found = seasonal.STL(x[1].numpy(), period=12).fit()
    for place, wanted in enumerate((found.trend, found.seasonal, found.resid)):
        np.testing.assert_array_equal(parts[1, place].numpy(), wanted)
    torch.testing.assert_close(parts.sum(1), x)
    torch.testing.assert_close(Stl(12)(x.float()).sum(1), x.float(), rtol=0, atol=1e-5)


def test_parts_of_a_pure_wave() -> None:
    t = torch.arange(96.0)
    trend, season, residual = Stl(12)((torch.sin(2 * torch.pi * t / 12) + 0.1 * t)[None])[0]
    inner = slice(12, -12)
    torch.testing.assert_close(trend[inner], 0.1 * t[inner], rtol=0, atol=0.02)
    torch.testing.assert_close(
        season[inner], torch.sin(2 * torch.pi * t / 12)[inner], rtol=0, atol=0.02
    )
    assert residual.abs().max() < 0.02


def test_windows_are_looked_up_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, stock = [], seasonal.STL

    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return stock(*args, **options)

    monkeypatch.setattr(seasonal, "STL", counted)
    x = torch.randn(5, 24)
    stl = Stl(6, kept_bytes=3 * 3 * 24 * 4)  # three windows
    first = stl(x)
    assert len(calls) == 5 and len(stl) == 3
    assert torch.equal(stl(x[2:]), first[2:]) and len(calls) == 5  # kept, whatever the batch
    assert torch.equal(stl(x[:1]), first[:1]) and len(calls) == 6  # dropped, the oldest
    assert len(stl) == 3


def test_no_gradient_to_the_input() -> None:
    x = torch.randn(1, 24, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient to its input: take decomposition classical"):
        Stl(6)(x)
    with torch.no_grad():
        assert Stl(6)(x).shape == (1, 3, 24)
    network, windows = _build(), torch.randn(2, 48, 1)
    with pytest.raises(ValueError, match="no gradient to its input"):
        network(windows.requires_grad_())


@pytest.mark.parametrize("head", ["published", "components"])
def test_weights_learn_from_it(head: str) -> None:
    network = _build(replace(CONFIG, head=head))
    x, y = torch.randn(2, 48, 3), torch.randn(2, 8, 3)
    loss, _ = network.loss(x, y)
    loss.backward()
    for weight in (network.embed.weight, network.head.linear.weight):
        assert weight.grad is not None and weight.grad.abs().sum() > 0
    with torch.no_grad():
        y = network.eval()(x)
        torch.testing.assert_close(network(3 * x + 5), 3 * y + 5, rtol=1e-3, atol=1e-3)
        assert network(torch.full((1, 48, 1), 4.0)).isfinite().all()


def test_seasons_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="season of at least 2 steps, got 1"):
        replace(CONFIG, season=1)
    with pytest.raises(ValueError, match=r"norm_affine \(True\)"):
        replace(CONFIG, norm_affine=True)
    with pytest.raises(ValueError, match="season of at least 2 steps, got 1"):
        Stl(1)
    with pytest.raises(ValueError, match="two seasons of 30 steps in a window, got 48"):
        _build(replace(CONFIG, season=30))(torch.randn(1, 48, 1))
