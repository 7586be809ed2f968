"""STL (Cleveland et al. 1990): trend, season and residual by local regression, as preprocessing.

A window of 512 steps takes 10 to 20 ms, against microseconds of the moving average, so that parts
are kept by the window's content: an epoch after the first looks them up. There is no gradient to
the input.
"""

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.errors import missing_package

KEPT_BYTES = 1 << 29
"""Bound of a cache; the windows that were used longest ago are dropped."""


class Stl:
    """The decomposition and the parts that it has found.

    Args:
        season: M, steps of a season.
        kept_bytes: Bound of the cache.

    Raises:
        ValueError: A season of one step.
    """

    def __init__(self, season: int, *, kept_bytes: int = KEPT_BYTES) -> None:
        if season < 2:
            raise ValueError(f"stl needs a season of at least 2 steps, got {season}")
        self.season, self.kept_bytes = season, kept_bytes
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._size = 0

    def __call__(self, x: Float[Tensor, "series time"]) -> Float[Tensor, "series 3 time"]:
        """Trend, season, residual; they sum to x.

        Raises:
            ValueError: A gradient to x is asked for, or x is shorter than two seasons.
            UserError: statsmodels is not installed.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "stl is preprocessing and has no gradient to its input: take decomposition "
                "classical where one is needed"
            )
        if x.shape[1] < 2 * self.season:
            raise ValueError(
                f"stl needs two seasons of {self.season} steps in a window, got {x.shape[1]} steps"
            )
        rows = x.detach().cpu().numpy()
        parts = np.empty((len(rows), 3, rows.shape[1]), dtype=rows.dtype)
        for place, row in enumerate(rows):
            parts[place] = self._of(np.ascontiguousarray(row))
        return torch.from_numpy(parts).to(x.device)

    def __len__(self) -> int:
        """Windows that are kept."""
        return len(self._kept)

    def _of(self, row: np.ndarray) -> np.ndarray:
        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        parts = _decompose(row, self.season)
        self._kept[key] = parts
        self._size += parts.nbytes
        while self._size > self.kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.nbytes
        return parts


def _decompose(row: np.ndarray, season: int) -> np.ndarray:
    try:
        from statsmodels.tsa.seasonal import STL
    except ImportError:
        raise missing_package("statsmodels", "forecasting") from None
    found = STL(row.astype(np.float64), period=season).fit()
    parts: np.ndarray = np.stack([found.trend, found.seasonal, found.resid]).astype(row.dtype)
    return parts
