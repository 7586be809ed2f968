"""What a batch is trained by."""

from typing import Any

import pytest
import torch
from tiny_models import tiny_gpt2

from forecasting.evaluation.symmetric import smape_loss
from forecasting.fit import Loss, batch_loss
from forecasting.linear import NLinear
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, S2ipConfig


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Positive values; the last targets of the first window are unknown."""
    torch.manual_seed(0)
    x, y = 1 + torch.rand(3, 24, 1), 1 + torch.rand(3, 6, 1)
    y[0, 4:] = torch.nan
    return x, y


def test_smape_with_a_weight_of_the_absolute_error(batch: Any) -> None:
    x, y = batch
    network = NLinear(24, 6)
    whole, parts = batch_loss(network, x, y, Loss("smape", 2.0))
    known = ~y.isnan()
    mae = (network(x) - y)[known].abs().mean()
    assert whole.item() == pytest.approx((smape_loss(network(x), y) + 2 * mae).item())
    assert set(parts) == {"smape", "mae"}


def test_own_terms_of_a_network_stand_beside_smape(batch: Any) -> None:
    """The alignment of S2IP-LLM stays, its squared error leaves nothing behind."""
    x, y = batch
    blocks = tiny_gpt2()
    words = blocks.get_input_embeddings().weight.detach()
    config = S2ipConfig(
        trend_window=4, season=2, patch_length=4, stride=4, retrieved=2, align_weight=0.3,
        anchors=AnchorConfig(count=10),
    )  # fmt: skip
    network = S2IP(24, 6, config, backbone=(_Blocks(blocks), words)).eval()
    whole, parts = batch_loss(network, x, y, Loss("smape"))
    expected = smape_loss(network(x), y) - 0.3 * parts["alignment"]
    assert whole.item() == pytest.approx(expected.item(), rel=1e-4)
    assert set(parts) == {"smape", "alignment"}
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    found = torch.autograd.grad(whole, weights, allow_unused=True, retain_graph=True)
    wanted = torch.autograd.grad(expected, weights, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        if one is not None or other is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


class _Blocks(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(inputs_embeds=tokens).last_hidden_state
        return found
