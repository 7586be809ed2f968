"""NLinear and DLinear (LTSF-Linear, 2205.13504): one or two linear maps shared by all channels."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from forecasting.model_config import DLinearConfig


class NLinear(nn.Module):
    """f = W (x - x_L) + b + x_L.

    Args:
        context: L.
        horizon: H.
    """

    def __init__(self, context: int, horizon: int) -> None:
        super().__init__()
        self.linear = nn.Linear(context, horizon)

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        last = x[:, -1:]
        mapped: Tensor = self.linear((x - last).transpose(1, 2)).transpose(1, 2)
        return mapped + last


class DLinear(nn.Module):
    """f = W_t T + b_t + W_r (x - T) + b_r, T the moving average with the ends repeated.

    Args:
        context: L.
        horizon: H.
        config: Width of the average.

    Raises:
        ValueError: An even width, whose average has no centre.
    """

    def __init__(self, context: int, horizon: int, config: DLinearConfig | None = None) -> None:
        super().__init__()
        config = config or DLinearConfig()
        self.trend_window = config.trend_window
        self.trend = nn.Linear(context, horizon)
        self.rest = nn.Linear(context, horizon)
        if config.init == "mean":
            for part in (self.trend, self.rest):
                nn.init.constant_(part.weight, 1 / context)
                nn.init.zeros_(part.bias)

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        series = x.transpose(1, 2)
        reach = (self.trend_window - 1) // 2
        padded = functional.pad(series, (reach, reach), mode="replicate")
        trend = functional.avg_pool1d(padded, self.trend_window, stride=1)
        forecast: Tensor = self.trend(trend) + self.rest(series - trend)
        return forecast.transpose(1, 2)
