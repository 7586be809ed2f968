"""A table of time series, one column a channel, one row a time step."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped


@dataclass(frozen=True)
class SeriesTable:
    """Channels on common, evenly spaced stamps."""

    name: str
    """Data set, such as ETTh1, or the file's name."""
    values: Float64[np.ndarray, "rows channels"]
    """In the file's units."""
    channels: tuple[str, ...]
    """Names of the columns."""
    stamps: Shaped[np.ndarray, " rows"]
    """datetime64[ns], times of the rows, ascending and evenly spaced (months as they are)."""
    stamps_made_up: bool = False
    """The file has none: they count from 1970."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.channels):
            raise ValueError(
                f"values must be [rows, {len(self.channels)}], got {list(self.values.shape)}"
            )
        if len(self.stamps) != len(self.values):
            raise ValueError(f"{len(self.values)} rows have {len(self.stamps)} stamps")

    def __len__(self) -> int:
        return len(self.values)
