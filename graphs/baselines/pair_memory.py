"""Memory of pairs, as EdgeBank keeps it: what has been seen comes again."""

from collections import deque
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from graphs.baselines.pair_matrix import PairMatrix
from graphs.data.snapshots import Snapshot

Mode = Literal["seen", "count", "window"]


class PairMemory:
    """Scores a pair by its past alone.

    Args:
        num_nodes: N.
        mode: seen = 1 if the pair was ever seen; count = its summed weight so far; window = 1 if it
            was seen in the last `window` steps.
        window: Steps, for mode `window` alone.
        directed: Snapshots hold a pair in one direction; it is remembered in both.

    Raises:
        ValueError: `window` is not positive.
    """

    def __init__(
        self,
        num_nodes: int,
        mode: Mode = "seen",
        *,
        window: int = 10,
        directed: bool = False,
    ) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.num_nodes, self.mode = num_nodes, mode
        self._memory = PairMatrix(num_nodes, directed=directed)
        self._recent: deque[Snapshot] = deque(maxlen=window)

    def update(
        self,
        snapshot: Snapshot,
        *,
        fit: Int[Tensor, "2 fit"] | None = None,
        hold: Int[Tensor, "2 hold"] | None = None,
    ) -> None:
        """Remember the pairs of a step; all of them, as nothing is fitted."""
        if self.mode == "window":
            self._recent.append(snapshot)
            self._memory = PairMatrix(self.num_nodes, directed=self._memory.directed)
            for recent in self._recent:
                self._memory.add(recent, binary=True)
        else:
            self._memory.add(snapshot, binary=self.mode == "seen")
        if self.mode != "count":
            self._memory.keep_seen()

    def rows(self, start: int, stop: int) -> Float32[Tensor, "rows nodes"]:
        """Scores of all targets for sources start .. stop - 1."""
        scores = np.zeros((stop - start, self.num_nodes), np.float32)
        self._memory.add_to_rows(scores, start)
        return torch.from_numpy(scores)

    def pairs(self, pairs: Int[Tensor, "2 pairs"]) -> Float32[Tensor, " pairs"]:
        """Scores of given pairs."""
        return torch.from_numpy(self._memory.at(pairs))


class Persistence(PairMemory):
    """The last snapshot comes again: 1 for its pairs, 0 for the others.

    Args:
        num_nodes: N.
        directed: Snapshots hold a pair in one direction; it is remembered in both.
    """

    def __init__(self, num_nodes: int, *, directed: bool = False) -> None:
        super().__init__(num_nodes, "window", window=1, directed=directed)
