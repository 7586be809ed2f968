"""Columns beside the target that a forecast may see: past, known ahead, static."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from forecasting.data.panel import Layout, Panel


class Covariates(NamedTuple):
    """Of a batch of windows, scaled."""

    past: Float[Tensor, "batch context past"]
    """Columns known up to the present, then the past of those known ahead."""
    future: Float[Tensor, "batch horizon future"]
    """Columns known ahead, over the forecast's steps."""
    static: Float[Tensor, "batch static"]


Inputs = Float[Tensor, "batch context channels"] | tuple[Tensor, Covariates]
"""What a forecaster is called with: a context, or a context and covariates."""


class CovariateSizes(NamedTuple):
    """How much there is of each kind."""

    past: int = 0
    """Columns at a past step, with those known ahead."""
    future: int = 0
    """Numbers known ahead: columns times steps of the forecast."""
    static: int = 0
    """Columns."""


NONE = CovariateSizes()


def forecast(network: nn.Module, inputs: Any) -> Tensor:
    """Call a forecaster with a context, or with a context and covariates."""
    found: Tensor = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    return found


@dataclass(frozen=True)
class CovariateScale:
    """Mean and population deviation of every column over all training rows; of a constant one the
    deviation is 1."""

    mean: Float64[np.ndarray, " columns"]
    """Of past, future and static columns behind each other."""
    std: Float64[np.ndarray, " columns"]

    @classmethod
    def fit(cls, panel: Panel, stops: Int64[np.ndarray, " series"]) -> "CovariateScale":
        """From the rows of each series before its stop, each row once; static ones by series."""
        owner = np.repeat(np.arange(len(panel)), panel.lengths)
        taught = np.arange(len(owner)) < stops[owner]
        rows = np.concatenate([panel.past, panel.future], 1)[taught]
        mean = np.concatenate([rows.mean(0), panel.static.mean(0)])
        std = np.concatenate([rows.std(0), panel.static.std(0)])
        return cls(mean, np.where(std == 0, 1.0, std))


class CovariateTable:
    """Scaled columns of a panel, from which windows are gathered.

    Args:
        panel: Series; behind each may stand rows of the future.
        scale: Of the training rows.
    """

    def __init__(self, panel: Panel, scale: CovariateScale) -> None:
        kinds = (panel.past, panel.future, panel.static)
        borders = np.cumsum([0] + [kind.shape[1] for kind in kinds])
        past, self._future, self._static = (
            torch.from_numpy((kind - scale.mean[a:b]) / scale.std[a:b]).float()
            for kind, a, b in zip(kinds, borders[:-1], borders[1:], strict=True)
        )
        self._past = torch.cat([past, self._future], 1)

    def gather(
        self,
        seen: Int64[np.ndarray, "windows context"],
        ahead: Int64[np.ndarray, "windows horizon"],
        owner: Int64[np.ndarray, " windows"],
    ) -> Covariates:
        """By rows of context and horizon, and by series."""
        future = self._future.new_empty(*ahead.shape, 0)
        if self._future.shape[1]:
            future = self._future[torch.from_numpy(ahead)]
        return Covariates(
            self._past[torch.from_numpy(seen)], future, self._static[torch.from_numpy(owner)]
        )


def sizes_of(layout: Layout, horizon: int) -> CovariateSizes:
    """Of the columns that a layout declares."""
    ahead = len(layout.future)
    return CovariateSizes(len(layout.past) + ahead, ahead * horizon, len(layout.static))
