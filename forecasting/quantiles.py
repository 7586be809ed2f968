"""A quantile head for any trained forecaster: one forecast for each quantile, in their order."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.data.covariates import forecast


class QuantileForecaster(nn.Module):
    """A network whose forecast has a value for every step and quantile; its median is the forecast.

    Quantiles are sorted at each step, so that they never cross.

    Args:
        network: With a horizon of H times the number of quantiles.
        horizon: H.
        quantiles: Ascending, .5 among them.
    """

    def __init__(self, network: nn.Module, horizon: int, quantiles: Sequence[float]) -> None:
        super().__init__()
        self.network, self.horizon = network, horizon
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(quantiles), persistent=False)
        self.median = list(quantiles).index(0.5)

    def forward(self, *inputs: Any) -> Float[Tensor, "batch horizon channels"]:
        """The median."""
        return self.quantiles(*inputs)[:, :, self.median]

    def quantiles(self, *inputs: Any) -> Float[Tensor, "batch horizon quantiles channels"]:
        """All of them, ascending."""
        found: Tensor = self.network(*inputs).unflatten(1, (self.horizon, len(self.levels)))
        return found.sort(dim=2).values

    def loss(
        self, inputs: Any, y: Float[Tensor, "batch horizon channels"]
    ) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Mean pinball loss of the forecasts before they are sorted."""
        flat = forecast(self.network, inputs)
        return pinball(flat.unflatten(1, (self.horizon, len(self.levels))), y, self.levels), {}


def pinball(
    forecasts: Float[Tensor, "batch horizon quantiles channels"],
    y: Float[Tensor, "batch horizon channels"],
    levels: Float[Tensor, " quantiles"],
) -> Float[Tensor, ""]:
    """Mean of max(q (y - f), (q - 1)(y - f)); lower is better."""
    error = y[:, :, None] - forecasts
    q = levels[:, None]
    return torch.maximum(q * error, (q - 1) * error).mean()
