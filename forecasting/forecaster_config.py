"""What a `Forecaster` is made of; torch-free."""

from dataclasses import dataclass, field
from typing import Literal

from forecasting.config import FitsConfig, Name, NetworksConfig
from foretell.config import TrainerConfig


@dataclass(frozen=True)
class ForecasterConfig:
    """Models over many series of one frequency."""

    models: list[Name] = field(default_factory=lambda: ["ridge"])
    """Fitted together; a column of the forecast each."""
    horizon: int = 24
    """Future steps."""
    context: int = 96
    """Past steps that a forecast sees."""
    freq: str = "D"
    """pandas frequency of the stamps."""
    season: int = 1
    """Steps of a season, for seasonal_naive."""
    id_col: str | None = None
    """Column of the series; none = unique_id or item_id."""
    time_col: str | None = None
    """Column of the times; none = ds or timestamp."""
    target_col: str | None = None
    """Column of the values; none = y or target."""
    fill: Literal["none", "ffill"] = "none"
    """Missing rows and values: an error, or the last known value (never a later one)."""
    pad: Literal["error", "edge"] = "error"
    """Series shorter than the context when predicting: an error, or their first value repeated."""
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    fits: FitsConfig = field(default_factory=FitsConfig)
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(threads=1, accelerator="auto")
    )

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"models must name at least one, each once, got {self.models}")
        if self.horizon < 1 or self.context < 1 or self.season < 1:
            raise ValueError("horizon, context and season must be at least 1")
        if "ridge_tuned" in self.models:
            raise ValueError("ridge_tuned chooses its own context: it is in the benchmark alone")


@dataclass(frozen=True)
class FileConfig:
    """A file of series."""

    path: str = ""
    """CSV or Parquet: long (a row a series and time), or wide with times in the first column."""


@dataclass(frozen=True)
class TrainConfig(ForecasterConfig):
    """`foretell forecast train`."""

    data: FileConfig = field(default_factory=FileConfig)
    val_size: int = 0
    """Rows at the end of each series that teach nothing: half of them stop training, half
    calibrate intervals. 0 = ten horizons."""


@dataclass(frozen=True)
class BacktestConfig(TrainConfig):
    """`foretell forecast backtest`: the last windows of every series, forecast as if unseen."""

    n_windows: int = 5
    """Cutoffs, the last one horizon before the end."""
    step_size: int | None = None
    """Steps between two; none = the horizon."""
    refit: bool = False
    """Fit anew before every cutoff; off = once, before the first."""
    level: list[float] = field(default_factory=lambda: [80.0, 95.0])
    """Percents of the intervals."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_windows < 1 or (self.step_size is not None and self.step_size < 1):
            raise ValueError("n_windows and step_size must be at least 1")


@dataclass(frozen=True)
class PredictConfig:
    """`foretell forecast predict`: the real future of every series."""

    model: str = ""
    """Folder of a saved forecaster, such as RUN/model."""
    data: FileConfig = field(default_factory=FileConfig)
    """Series to forecast; no path = those that it was trained on."""
    level: list[float] = field(default_factory=lambda: [80.0, 95.0])
    """Percents of the intervals; [] = none."""
    backbone: str = ""
    """Where the language model is now; empty = where it was."""
    format: Literal["csv", "parquet"] = "csv"
    """Of the forecast's file."""
    series: int = 9
    """How many series are drawn."""
