"""Windows of series of unequal length, cut near their ends, as published for M4.

Where a series begins inside a context, zeros stand before it; where it ends inside a horizon, the
target is NaN, which a loss must leave out (the release has zeros and a mask there).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from forecasting.data.windows import Batch, Windows

Scaling = Literal["size", "season", "none"]
LEAST_CHANGE = 1e-3
"""Of the size."""


class Cut(NamedTuple):
    """Windows of one channel."""

    x: Float[Tensor, "batch context 1"]
    y: Float[Tensor, "batch horizon 1"]
    """NaN after the end of the series."""
    scale: Float64[Tensor, "batch 1 1"]
    """What both were divided by."""


class SeriesCuts:
    """Windows by series and first target.

    Args:
        series: Values of each.
        context: L.
        horizon: H.
        scaling: What a window is divided by, from its context's known values alone. sMAPE does
            not change by it, and a map without a norm of its own (DLinear, ridge) meets series of
            all sizes alike. size = mean |x_t|. season = mean |x_t - x_(t-m)|, the scale of MASE
            inside the window, at least a thousandth of the size.
        season: m.
    """

    def __init__(
        self,
        series: Sequence[Float64[np.ndarray, " _"]],
        context: int,
        horizon: int,
        *,
        scaling: Scaling,
        season: int,
    ) -> None:
        self.context, self.horizon, self.scaling, self.season = context, horizon, scaling, season
        self.lengths = torch.tensor([len(row) for row in series])
        before, after = np.full(context, np.nan), np.full(horizon, np.nan)
        pieces = [piece for row in series for piece in (before, row, after)]
        self._values = torch.from_numpy(np.concatenate(pieces))
        stops = (self.lengths + context + horizon).cumsum(0)
        self._starts = torch.cat([stops.new_zeros(1), stops[:-1]])

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, series: Int[Tensor, " batch"], first: Int[Tensor, " batch"]) -> Cut:
        """Windows of some series, each with the place of its first target.

        Raises:
            ValueError: A place without a value before it, or behind the end.
        """
        if bool((first < 1).any() or (first > self.lengths[series]).any()):
            raise ValueError("a window begins after the first and ends after the last value")
        rows = (self._starts[series] + first)[:, None]
        whole = self._values[rows + torch.arange(self.context + self.horizon)][..., None]
        x, y = whole[:, : self.context], whole[:, self.context :]
        scale = self._scale(x)
        return Cut((x.nan_to_num() / scale).float(), (y / scale).float(), scale)

    def _scale(self, x: Float64[Tensor, "batch context 1"]) -> Float64[Tensor, "batch 1 1"]:
        one = x.new_ones(len(x), 1, 1)
        if self.scaling == "none":
            return one
        size = x.abs().nanmean(1, keepdim=True)
        size = size.where(size > 0, one)
        if self.scaling == "size":
            return size
        change = (x[:, self.season :] - x[:, : -self.season]).abs().nanmean(1, keepdim=True)
        # A context shorter than a season after its zeros has no change to tell.
        return change.where(~change.isnan(), size).maximum(LEAST_CHANGE * size)

    def last(self, steps_before: int) -> Cut:
        """One window a series, its first target so many steps before the end."""
        return self.gather(torch.arange(len(self)), self.lengths - steps_before)

    def first_cut(self, history: float | int) -> Int[Tensor, " series"]:
        """Of training: in the last `history` horizons, with a value before it."""
        return (self.lengths - round(history * self.horizon)).clamp_min(1)


class RandomCuts(Dataset[Batch]):
    """Windows of every series, each cut anew in every epoch.

    Args:
        cuts: Of the values that training may see.
        history: The cut lies in the last so many horizons.
        per_series: Windows of a series in an epoch.
        seed: Of the cuts; they depend on it, the epoch and the window alone.
    """

    def __init__(
        self, cuts: SeriesCuts, *, history: float | int, per_series: int, seed: int
    ) -> None:
        self.cuts, self.per_series, self.seed = cuts, per_series, seed
        self._first = cuts.first_cut(history).repeat(per_series)
        self._count = cuts.lengths.repeat(per_series) - self._first
        self._drawn: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        """A batch by the sampler's keys (epoch, number)."""
        places = torch.tensor([place for _, place in keys])
        first = torch.cat([self._places(epoch)[place : place + 1] for epoch, place in keys])
        cut = self.cuts.gather(places % len(self.cuts), first)
        return cut.x, cut.y

    def _places(self, epoch: int) -> Int[Tensor, " windows"]:
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            share = torch.rand(len(self), generator=generator, dtype=torch.float64)
            self._drawn = epoch, self._first + (share * self._count).long()
        return self._drawn[1]


def as_windows(cut: Cut) -> Windows:
    """Windows that are scored one after the other."""
    context, steps = cut.x.shape[1], cut.x.shape[1] + cut.y.shape[1]
    values = torch.cat([cut.x, cut.y], 1).flatten()[:, None]
    starts = torch.arange(len(cut.x)) * steps + context
    return Windows(values, starts, context, cut.y.shape[1])


def cut_gram(cuts: SeriesCuts, history: float | int) -> Float64[np.ndarray, "steps steps"]:
    """Sum of z z^T over all windows z whose horizon is whole, in the last `history` horizons."""
    steps = cuts.context + cuts.horizon
    gram: NDArray[np.float64] = np.zeros((steps, steps))
    for place, (first, length) in enumerate(
        zip(cuts.first_cut(history).tolist(), cuts.lengths.tolist(), strict=True)
    ):
        at = torch.arange(first, max(first, length - cuts.horizon + 1))
        cut = cuts.gather(torch.full_like(at, place), at)
        whole = torch.cat([cut.x, cut.y], 1)[..., 0].double().numpy()
        gram += whole.T @ whole
    return gram
