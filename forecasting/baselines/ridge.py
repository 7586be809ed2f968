"""Linear maps from context to horizon in closed form, shared by all channels.

Windows are centred by their mean or their last value; the weights minimise the squared error over
all training windows and channels plus penalty |W|^2 and are found from the normal equations. The
Gram matrix of all windows is never formed from windows: entries on a diagonal differ by one
product at each end, so that it costs O(n + (L + H)) a column instead of O(n (L + H)).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor, nn

from forecasting.data.covariates import NONE, Covariates, CovariateSizes
from forecasting.model_config import Centre

FIXED_PENALTY = 1e-3
"""Of the mean diagonal of X^T X."""


class Ridge(nn.Module):
    """f = W (x - c) + c with c the window's mean or last value.

    Declared columns stand behind x - c as they are: all steps of the past ones, all steps of those
    known ahead, the static ones.

    Args:
        context: L.
        horizon: H.
        centre: c.
        covariates: Declared columns; with any, windows have one channel.
    """

    weight: Tensor

    def __init__(
        self,
        context: int,
        horizon: int,
        *,
        centre: Centre = "mean",
        covariates: CovariateSizes = NONE,
    ) -> None:
        super().__init__()
        self.centre = centre
        columns = context * (1 + covariates.past) + covariates.future
        self.register_buffer("weight", torch.zeros(horizon, columns + covariates.static))

    def forward(
        self, x: Float[Tensor, "batch context channels"], covariates: Covariates | None = None
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        c = self._centre(x)
        rows = (x - c).transpose(1, 2)
        if covariates is not None:
            rows = self._rows(rows, covariates)
        return (rows @ self.weight.T).transpose(1, 2) + c

    def fit_windows(self, batches: Iterable[Any], *, penalty: float = FIXED_PENALTY) -> "Ridge":
        """Solve from batches of windows with covariates, their products summed in float64.

        Args:
            batches: ((x, covariates), y) each.
            penalty: As in `fit`.
        """
        horizon, columns = self.weight.shape
        xx, xy = torch.zeros(columns, columns).double(), torch.zeros(columns, horizon).double()
        for (x, covariates), y in batches:
            c = self._centre(x)
            rows = self._rows((x - c).transpose(1, 2), covariates).flatten(0, 1).double()
            xx += rows.T @ rows
            xy += rows.T @ (y - c).transpose(1, 2).flatten(0, 1).double()
        if not bool(xx.any()):  # constant windows: their centre is the forecast
            self.weight.zero_()
            return self
        lifted = xx + penalty * xx.diagonal().mean() * torch.eye(columns).double()
        # A column that never changes makes the system singular where there is no penalty.
        weight = torch.linalg.solve(lifted, xy) if penalty else torch.linalg.pinv(xx) @ xy
        self.weight.copy_(weight.T)
        return self

    def _centre(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) if self.centre == "mean" else x[:, -1:]

    @staticmethod
    def _rows(centred: Tensor, covariates: Covariates) -> Tensor:
        flat = torch.cat([part.flatten(1) for part in covariates], 1)
        return torch.cat([centred, flat[:, None].expand(-1, centred.shape[1], -1)], 2)

    def fit(
        self, values: Float64[np.ndarray, "rows channels"], *, penalty: float = FIXED_PENALTY
    ) -> "Ridge":
        """Solve for the weights from all windows of some rows.

        Args:
            values: Training rows, scaled.
            penalty: Share of the mean diagonal of X^T X that is added to it.

        Raises:
            ValueError: Fewer rows than one window, or a penalty below 0.
        """
        return self.solve(window_gram(values, sum(self.weight.shape)), penalty=penalty)

    def solve(self, gram: Float64[np.ndarray, "steps steps"], *, penalty: float) -> "Ridge":
        """The same from the Gram matrix of whole windows.

        Args:
            gram: Sum over windows of z z^T, z = context and horizon.
            penalty: As in `fit`.
        """
        context = self.weight.shape[1]
        self.weight.copy_(torch.from_numpy(solve_ridge(gram, context, penalty, self.centre)))
        return self


def solve_ridge(
    gram: Float64[np.ndarray, "steps steps"], context: int, penalty: float, centre: Centre
) -> Float64[np.ndarray, "horizon context"]:
    """Weights from the Gram matrix of whole windows; one Gram serves all penalties.

    Args:
        gram: Sum over windows of z z^T, z = context and horizon.
        context: L.
        penalty: Share of the mean diagonal of X^T X.
        centre: What is subtracted from both.
    """
    if penalty < 0:
        raise ValueError(f"penalty must not be negative, got {penalty}")
    steps = len(gram)
    centring = np.eye(steps)
    if centre == "mean":
        centring[:, :context] -= 1 / context
    else:
        centring[:, context - 1] -= 1
    moments = centring @ gram @ centring.T
    xx, yx = moments[:context, :context], moments[context:, :context]
    if not xx.any():  # constant windows: their centre is the forecast
        return np.zeros((steps - context, context))
    lifted = xx + penalty * np.trace(xx) / context * np.eye(context)
    # Centred windows lie in a plane: without a penalty many maps fit, and the least one is taken.
    solve = linalg.solve(lifted, yx.T, assume_a="pos") if penalty else linalg.pinvh(xx) @ yx.T
    weight: NDArray[np.float64] = solve.T
    return weight


def window_gram(
    values: Float64[np.ndarray, "rows channels"], steps: int
) -> Float64[np.ndarray, "steps steps"]:
    """Sum of z z^T over all windows z of `steps` rows and all channels.

    G[0, k] = sum_t x_t x_{t+k}; G[i+1, j+1] = G[i, j] - x_i x_j + x_{n+i} x_{n+j}, n windows.

    Raises:
        ValueError: Fewer rows than one window.
    """
    return window_gram_of_tables([values], steps)


def window_gram_of_tables(
    tables: Sequence[Float64[np.ndarray, "_ _"]], steps: int
) -> Float64[np.ndarray, "steps steps"]:
    """The sum of the tables' `window_gram`s, at the price of one walk along the diagonals.

    Args:
        tables: [rows, channels] each.
        steps: Rows of a window.

    Raises:
        ValueError: A table with fewer rows than one window.
    """
    first, ends = np.zeros(steps), np.zeros((steps - 1, steps - 1))
    for values in tables:
        windows = len(values) - steps + 1
        if windows < 1:
            raise ValueError(f"windows of {steps} steps need as many rows, got {len(values)}")
        head, tail = values[: steps - 1], values[windows:]
        ends += tail @ tail.T - head @ head.T
        for column in values.T:
            first += np.lib.stride_tricks.sliding_window_view(column, windows) @ column[:windows]
    gram = np.zeros((steps, steps))
    gram[0], gram[1:, 1:] = first, ends
    for k in range(steps):  # along each diagonal, upper triangle
        place = np.arange(steps - k)
        diagonal = np.cumsum(gram[place, place + k])
        gram[place, place + k] = gram[place + k, place] = diagonal
    return gram


def window_gram_naive(
    values: Float64[np.ndarray, "rows channels"], steps: int
) -> Float64[np.ndarray, "steps steps"]:
    """The same from the stacked windows."""
    view = np.lib.stride_tricks.sliding_window_view(values, steps, axis=0)
    design = view.reshape(-1, steps)
    gram: NDArray[np.float64] = design.T @ design
    return gram


def ridge_trials(
    values: Float64[np.ndarray, "rows channels"],
    contexts: list[int],
    penalties: list[float],
    horizon: int,
    centre: Centre,
) -> list[tuple[int, float, Ridge]]:
    """One map for each context and penalty; to be ranked on validation data."""
    found = []
    for context in contexts:
        gram = window_gram(values, context + horizon)
        for penalty in penalties:
            model = Ridge(context, horizon, centre=centre)
            weight = solve_ridge(gram, context, penalty, centre)
            model.weight.copy_(torch.from_numpy(weight))
            found.append((context, penalty, model))
    return found
