"""Every node keeps its last number."""

import torch
from jaxtyping import Float
from torch import Tensor

from graphs.data.snapshots import Snapshot


class LastValue:
    """Forecasts the value of step t by that of step t - 1.

    Unknown there: the node's last known value, else the mean of what is known, else 0.

    Args:
        num_nodes: N.
    """

    def __init__(self, num_nodes: int) -> None:
        self._last = torch.full((num_nodes,), torch.nan)

    def update(self, snapshot: Snapshot) -> None:
        """Remember the known values of a step."""
        if snapshot.value is not None:
            value = snapshot.value.to(self._last.dtype)
            self._last = torch.where(value.isnan(), self._last, value)

    def values(self, snapshot: Snapshot) -> Float[Tensor, " nodes"]:
        """The last values."""
        known = self._last[~self._last.isnan()]
        return self._last.nan_to_num(nan=float(known.mean()) if len(known) else 0.0)
