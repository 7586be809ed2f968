"""Last value, drift, seasonal naive and mean of the last seasons: nothing is learned."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LastValue(nn.Module):
    """f_h = x_L: the random walk's forecast.

    Args:
        horizon: H.
    """

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        return x[:, -1:].expand(-1, self.horizon, -1)


class Drift(nn.Module):
    """f_h = x_L + h (x_L - x_1) / (L - 1): the line through the first and the last value.

    Args:
        horizon: H.
    """

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast; a context of one step has no slope."""
        slope = (x[:, -1:] - x[:, :1]) / max(x.shape[1] - 1, 1)
        ahead = torch.arange(1, self.horizon + 1, dtype=x.dtype, device=x.device)
        return x[:, -1:] + ahead[None, :, None] * slope


class SeasonalNaive(nn.Module):
    """The mean of the last n seasons, repeated; n = 1 is the seasonal naive forecast.

    Args:
        horizon: H.
        season: m, steps of a season.
        num_seasons: n.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(self, horizon: int, season: int, *, num_seasons: int = 1) -> None:
        super().__init__()
        if season < 1 or num_seasons < 1:
            raise ValueError(
                f"season and num_seasons must be at least 1, got {season} and {num_seasons}"
            )
        self.horizon, self.season, self.num_seasons = horizon, season, num_seasons

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast.

        Raises:
            ValueError: The context holds fewer seasons.
        """
        seen = self.num_seasons * self.season
        if x.shape[1] < seen:
            raise ValueError(
                f"{self.num_seasons} season(s) of {self.season} steps need a context of {seen}, "
                f"got {x.shape[1]}"
            )
        cycle = x[:, -seen:].unflatten(1, (self.num_seasons, self.season)).mean(1)
        ahead = torch.arange(self.horizon, device=x.device) % self.season
        repeated: Tensor = cycle[:, ahead]
        return repeated
