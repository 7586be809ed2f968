"""Standardisation by the training rows alone."""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ColumnScaler:
    """Mean and population standard deviation of each channel; a constant one is divided by 1."""

    mean: Float64[np.ndarray, " channels"]
    std: Float64[np.ndarray, " channels"]

    @classmethod
    def fit(
        cls, values: Float64[np.ndarray, "rows channels"], rows: range, names: tuple[str, ...] = ()
    ) -> "ColumnScaler":
        """From some rows.

        Raises:
            ValueError: There is no row.
        """
        if not len(rows):
            raise ValueError("a scaler needs at least one row, got none")
        seen = values[rows.start : rows.stop]
        std = seen.std(axis=0)
        constant = np.flatnonzero(std == 0)
        if len(constant):
            listed = ", ".join(names[place] if names else str(place) for place in constant)
            _log.warning("constant in the training rows, not scaled: %s", listed)
        return cls(seen.mean(axis=0), np.where(std == 0, 1.0, std))

    def scale(
        self, values: Float64[np.ndarray, "rows channels"]
    ) -> Float64[np.ndarray, "rows channels"]:
        """(x - mean) / std."""
        scaled: NDArray[np.float64] = (values - self.mean) / self.std
        return scaled

    def unscale(
        self, values: Float64[np.ndarray, "*rows channels"]
    ) -> Float64[np.ndarray, "*rows channels"]:
        """x std + mean."""
        restored: NDArray[np.float64] = values * self.std + self.mean
        return restored
