"""Windows of one contiguous table, gathered by index: no copy a sample, no collate."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[Float[Tensor, "batch context channels"], Float[Tensor, "batch horizon channels"]]


class Windows(Dataset[Batch]):
    """Context and target of every window of a part.

    Args:
        values: The whole table, scaled.
        starts: First target rows, stride 1 (`window_starts`).
        context: L.
        horizon: H.

    Raises:
        ValueError: A window would leave the table.
    """

    def __init__(
        self, values: Float[Tensor, "rows channels"], starts: range, context: int, horizon: int
    ) -> None:
        if len(starts) and (starts[0] < context or starts[-1] + horizon > len(values)):
            raise ValueError(
                f"windows of {context} + {horizon} rows at {starts[0]} .. {starts[-1]} leave a "
                f"table of {len(values)} rows"
            )
        self.starts, self.context, self.horizon = starts, context, horizon
        # Rows of this view are gathered channel by channel, so that folding channels into the
        # batch copies nothing.
        columns = values.T.contiguous()
        self._view = columns.unfold(1, context + horizon, 1).transpose(0, 1)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_channels(self) -> int:
        """Channels of the table."""
        return self._view.shape[1]

    def gather(self, places: Int[Tensor, " batch"]) -> Batch:
        """Windows by their number, 0 being the first of the part."""
        first = self.starts.start - self.context
        whole = self._view[places + first].transpose(1, 2)  # [batch, context + horizon, channels]
        return whole[:, : self.context], whole[:, self.context :]

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        """A batch by the sampler's keys (epoch, number)."""
        return self.gather(torch.tensor([place for _, place in keys]))

    def batches(self, size: int) -> Iterator[Batch]:
        """All windows in order, the last batch smaller."""
        for first in range(0, len(self), size):
            yield self.gather(torch.arange(first, min(first + size, len(self))))
