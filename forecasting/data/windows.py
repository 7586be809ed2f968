"""Windows of one contiguous table, gathered by index: no copy a sample, no collate."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from forecasting.data.covariates import Inputs

Batch = tuple[Inputs, Float[Tensor, "batch horizon channels"]]


class Windows(Dataset[Batch]):
    """Context and target of every window of a part.

    Args:
        values: The whole table, scaled.
        starts: First target rows, such as those of `window_starts`.
        context: L.
        horizon: H.

    Raises:
        ValueError: A window would leave the table.
    """

    def __init__(
        self,
        values: Float[Tensor, "rows channels"],
        starts: range | Int[Tensor, " windows"],
        context: int,
        horizon: int,
    ) -> None:
        places = torch.arange(starts.start, starts.stop) if isinstance(starts, range) else starts
        if len(places):
            first, last = int(places.min()), int(places.max())
            if first < context or last + horizon > len(values):
                raise ValueError(
                    f"windows of {context} + {horizon} rows at {first} .. {last} leave a table of "
                    f"{len(values)} rows"
                )
        self.starts, self.context, self.horizon = places, context, horizon
        self._rows = places - context
        # Rows of this view are gathered channel by channel, so that folding channels into the
        # batch copies nothing.
        steps, columns = context + horizon, values.T.contiguous()
        if len(places):
            self._view = columns.unfold(1, steps, 1).transpose(0, 1)
        else:
            self._view = columns.new_empty(0, len(columns), steps)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_channels(self) -> int:
        """Channels of the table."""
        return self._view.shape[1]

    def spaced(self, count: int) -> "Windows":
        """At most so many of the windows, evenly spaced from the first to the last."""
        if count >= len(self):
            return self
        kept = torch.linspace(0, len(self) - 1, count).round().long()
        chosen = copy.copy(self)
        chosen.starts, chosen._rows = self.starts[kept], self._rows[kept]
        return chosen

    def gather(self, places: Int[Tensor, " batch"]) -> Batch:
        """Windows by their number, 0 being the first of the part."""
        # index_select copies runs of steps; indexing by a tensor goes number by number
        rows = self._rows.index_select(0, places)
        whole = self._view.index_select(0, rows).transpose(1, 2)  # [batch, steps, channels]
        return whole[:, : self.context], whole[:, self.context :]

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        """A batch by the sampler's keys (epoch, number)."""
        return self.gather(torch.from_numpy(np.array([place for _, place in keys])))

    def batches(self, size: int) -> Iterator[Batch]:
        """All windows in order, the last batch smaller."""
        for first in range(0, len(self), size):
            yield self.gather(torch.arange(first, min(first + size, len(self))))
