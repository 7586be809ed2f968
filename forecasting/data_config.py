"""Configuration of what is read and how it is split; torch-free."""

from dataclasses import dataclass
from typing import Literal

SplitKind = Literal["auto", "ett_hourly", "ett_quarter_hourly", "shares"]


@dataclass(frozen=True)
class DataConfig:
    """Which file, and which rows are for what."""

    path: str = ""
    """CSV of series, one column each, with or without a first column of times; also gzipped."""
    split: SplitKind = "auto"
    """auto = as the file is published: 12, 4 and 4 months of 30 days with the columns of ETT, else
    70, 10 and 20 % of the rows (shares)."""
    percent: float = 100.0
    """Few-shot: share of the training rows that is kept, from the start."""
    scaler_rows: Literal["all", "kept"] = "kept"
    """Few-shot: the scaler sees the rows that are kept, or as the released codes all training
    rows."""
    season: int | None = None
    """Steps of a season; none = that of the published file, else the one that the step suggests:
    24 hours, 7 days, 12 months."""

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ValueError(f"percent must lie in (0, 100], got {self.percent}")
        if self.season is not None and self.season < 1:
            raise ValueError(f"season must be at least 1, got {self.season}")
