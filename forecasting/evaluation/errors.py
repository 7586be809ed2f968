"""Squared, absolute and symmetric error over windows, steps and channels; lower is better.

MSE = mean (y - f)^2, MAE = mean |y - f|, sMAPE = 200 mean |y - f| / (|y| + |f|) in percent, 0/0 =
0: sums in float64 over counts. Means of batch means differ as soon as the last batch is smaller,
and dropping it changes published numbers in the second digit.
No window: an error, never a number.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from forecasting.evaluation.symmetric import symmetric_share


@dataclass
class ForecastErrors:
    """Sums of errors for each step of the horizon and channel."""

    squared: Float64[Tensor, "horizon channels"]
    absolute: Float64[Tensor, "horizon channels"]
    symmetric: Float64[Tensor, "horizon channels"]
    windows: int = field(default=0)

    @classmethod
    def zeros(cls, horizon: int, channels: int) -> "ForecastErrors":
        """Nothing seen yet."""
        empty = torch.zeros(horizon, channels, dtype=torch.float64)
        return cls(empty, empty.clone(), empty.clone())

    def update(
        self,
        target: Float[Tensor, "batch horizon channels"],
        forecast: Float[Tensor, "batch horizon channels"],
    ) -> None:
        """Add windows.

        Raises:
            ValueError: A forecast that is not finite.
        """
        error = (target.double() - forecast.double()).cpu()
        if not bool(error.isfinite().all()):
            bad = (~error.isfinite()).nonzero()[0].tolist()
            raise ValueError(
                f"the forecast of window {self.windows + bad[0]}, step {bad[1]}, channel {bad[2]} "
                "is not finite"
            )
        self.squared += error.square().sum(0)
        self.absolute += error.abs().sum(0)
        self.symmetric += symmetric_share(forecast.double(), target.double()).cpu().sum(0)
        self.windows += len(error)

    def merge(self, other: "ForecastErrors") -> "ForecastErrors":
        """Of two shards together."""
        return ForecastErrors(
            self.squared + other.squared,
            self.absolute + other.absolute,
            self.symmetric + other.symmetric,
            self.windows + other.windows,
        )

    def summed(self, reduce: Callable[..., Any], device: torch.device | str) -> "ForecastErrors":
        """Of all processes together.

        Args:
            reduce: Of a Lightning strategy.
            device: Where its processes exchange tensors.
        """
        count = torch.full_like(self.squared, self.windows)
        packed = torch.stack([self.squared, self.absolute, self.symmetric, count]).to(device)
        squared, absolute, symmetric, windows = reduce(packed, reduce_op="sum").cpu().unbind()
        return ForecastErrors(squared, absolute, symmetric, int(windows[0, 0]))

    @property
    def mse(self) -> float:
        """Over windows, steps and channels."""
        return self._mean(self.squared)

    @property
    def mae(self) -> float:
        """Over windows, steps and channels."""
        return self._mean(self.absolute)

    @property
    def smape(self) -> float:
        """Over windows, steps and channels, in percent."""
        return 200 * self._mean(self.symmetric)

    def _mean(self, sums: Tensor) -> float:
        if not self.windows:
            raise ValueError("no window was scored: the part is shorter than the horizon")
        return float(sums.mean() / self.windows)
