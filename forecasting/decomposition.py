"""Trend, season and residual of a window, differentiable and without a loop (2403.05798, 3.1).

The edge rules are those of the released pandas code: the trend is a moving average whose first and
last values are repeated, a season is the mean of all steps of a phase, not centred. Inside its
window the trend looks W/2 steps ahead: harmless for forecasts of what follows the window, a leak
for targets at every step, which is why these take no decomposition.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def decompose(
    x: Float[Tensor, "series time"], trend_window: int, season: int
) -> Float[Tensor, "series 3 time"]:
    """Trend, season, residual; they sum to x.

    T_t = mean of x[t - W//2 .. t + (W - 1)//2] where that fits, else the nearest value that fits.
    S_t = mean of x - T over the steps of equal index mod M, counted from the window's start.
    Sums run in float64: a float32 running sum loses digits over long windows.

    Args:
        x: Windows.
        trend_window: W; 1 = the trend is x itself.
        season: M, steps of a season; from `time` on every step is a phase, and the residual 0.

    Raises:
        ValueError: W or M below 1, or W longer than the window.
    """
    series, time = x.shape
    if not 1 <= trend_window <= time:
        raise ValueError(f"trend_window must lie in 1 .. {time}, the context, got {trend_window}")
    if season < 1:
        raise ValueError(f"season must be at least 1, got {season}")
    sums = functional.pad(x.double().cumsum(-1), (1, 0))
    core = ((sums[:, trend_window:] - sums[:, :-trend_window]) / trend_window).to(x.dtype)
    before, after = trend_window // 2, (trend_window - 1) // 2
    trend = torch.cat([core[:, :1].expand(-1, before), core, core[:, -1:].expand(-1, after)], dim=1)
    detrended = x - trend
    missing = -time % season
    count = functional.pad(x.new_ones(time), (0, missing)).view(-1, season).sum(0)
    phases = functional.pad(detrended, (0, missing)).view(series, -1, season).sum(1) / count
    seasonal = phases.repeat(1, -(-time // season))[:, :time]
    return torch.stack([trend, seasonal, detrended - seasonal], dim=1)


def decomposition_matrix(
    time: int, trend_window: int, season: int, *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "3 time time"]:
    """The same as a constant linear map: parts = matrix @ x, for export."""
    identity = torch.eye(time, dtype=torch.float64)
    return decompose(identity, trend_window, season).permute(1, 2, 0).to(dtype)


def decompose_naive(
    x: Float[Tensor, "series time"], trend_window: int, season: int
) -> Float[Tensor, "series 3 time"]:
    """Loop oracle of `decompose`, a value at a time."""
    series, time = x.shape
    before, after = trend_window // 2, (trend_window - 1) // 2
    parts = torch.empty(series, 3, time, dtype=x.dtype)
    for row in range(series):
        trend = [
            x[row, centre - before : centre + after + 1].mean()
            for centre in (min(max(t, before), time - 1 - after) for t in range(time))
        ]
        detrended = [x[row, t] - trend[t] for t in range(time)]
        for t in range(time):
            same = [detrended[s] for s in range(t % season, time, season)]
            seasonal = torch.stack(same).mean()
            parts[row, :, t] = torch.stack([trend[t], seasonal, detrended[t] - seasonal])
    return parts
