"""What a `Forecaster` is made of; torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from forecasting.config import CONTEXT_ALIASES, FitsConfig, Name, NetworksConfig
from forecasting.model_config import (
    DLinearConfig,
    MixerForecasterConfig,
    PatchTstConfig,
    RidgeConfig,
)
from forecasting.s2ip_config import S2ipConfig
from foretell.config import TrainerConfig, from_dict, with_aliases
from foretell.errors import UserError


@dataclass(frozen=True)
class ForecasterConfig:
    """Models over many series of one frequency."""

    models: list[Name] = field(default_factory=lambda: ["ridge"])
    """Fitted together; a column of the forecast each."""
    horizon: int = 24
    """Future steps."""
    context: int = with_aliases(96, *CONTEXT_ALIASES)
    """Past steps that a forecast sees; also look_back, lookback, input_size."""
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
    static_cols: list[str] = field(default_factory=list)
    """Columns that are the same in all rows of a series."""
    past_cols: list[str] = field(default_factory=list)
    """Columns known up to the present."""
    future_cols: list[str] = field(default_factory=list)
    """Columns known ahead, such as holidays; `predict` needs their next rows."""
    quantiles: list[float] = field(default_factory=list)
    """Quantiles that networks are trained for, ascending, such as .1,.5,.9; [] = the mean."""
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
        if self.quantiles:
            self._check_quantiles()

    def _check_quantiles(self) -> None:
        ascending = sorted(set(self.quantiles)) == self.quantiles
        if (
            not ascending
            or 0.5 not in self.quantiles
            or not 0 < min(self.quantiles) <= max(self.quantiles) < 1
        ):
            raise ValueError(
                f"quantiles must ascend inside (0, 1) and have .5, the forecast, among them, got "
                f"{self.quantiles}"
            )
        for name in ("ridge", "s2ip"):
            if name in self.models:
                raise ValueError(f"{name} has no quantile head: drop it, or quantiles")


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
    future: FileConfig = field(default_factory=FileConfig)
    """Next rows of the columns known ahead."""
    horizon: int | None = None
    """Steps; none = as trained. Beyond, forecasts are fed back and their rows marked."""
    level: list[float] = field(default_factory=lambda: [80.0, 95.0])
    """Percents of the intervals; [] = none."""
    quantiles: list[float] | None = None
    """Of those trained for; none = all."""
    backbone: str = ""
    """Where the language model is now; empty = where it was."""
    format: Literal["csv", "parquet"] = "csv"
    """Of the forecast's file."""
    series: int = 9
    """How many series are drawn."""


@dataclass(frozen=True)
class ExportConfig:
    """`foretell forecast export`: fitted models as files that run without this package."""

    model: str = ""
    """Folder of a saved forecaster, such as RUN/model."""
    format: Literal["pt2", "onnx"] = "pt2"
    """pt2 = torch.export; onnx = for onnxruntime and others."""
    batch: int | None = None
    """Series at a time; none = any number, which the sequence blocks cannot be exported with."""
    backbone: str = ""
    """Where the language model is now; empty = where it was."""

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")


_NETWORK = {
    RidgeConfig: "ridge", DLinearConfig: "dlinear", PatchTstConfig: "patchtst", S2ipConfig: "s2ip",
}  # fmt: skip
ModelConfig = RidgeConfig | DLinearConfig | PatchTstConfig | S2ipConfig | MixerForecasterConfig


def forecaster_config(models: Sequence[Name | ModelConfig], **settings: Any) -> ForecasterConfig:
    """A configuration from models by name or by their own configuration.

    Args:
        models: Such as ["dlinear", RidgeConfig(penalty=0.1)].
        **settings: Further fields of `ForecasterConfig`; `context` also by its other names.

    Raises:
        UserError: A field that there is not, a kind of block that no model is named after.
    """
    names: list[str] = []
    networks: NetworksConfig = settings.pop("networks", NetworksConfig())
    for model in models:
        if isinstance(model, str):
            names.append(model)
            continue
        name: str = (
            model.mixer.kind if isinstance(model, MixerForecasterConfig) else _NETWORK[type(model)]
        )
        if not hasattr(networks, name):
            known = [field.name for field in fields(NetworksConfig)]
            raise UserError(f"no model is named after block {name}; there are {', '.join(known)}")
        names.append(name)
        networks = replace(networks, **{name: model})  # type: ignore[arg-type]
    values = {
        key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()
    }
    return from_dict(
        ForecasterConfig, {"models": names, "networks": networks, **values}, place="Forecaster"
    )


@dataclass(frozen=True)
class ExplainConfig:
    """`foretell forecast explain`: the anchors that S2IP puts before every series."""

    model: str = ""
    """Folder of a saved forecaster with s2ip, such as RUN/model."""
    data: FileConfig = field(default_factory=FileConfig)
    """Series to explain; no path = the last rows of those that it was trained on, too few for a
    picture over time."""
    backbone: str = ""
    """Where the language model is now; empty = where it was."""
    words: int = 5
    """Nearest words of an anchor."""
    series: int = 6
    """How many series are drawn."""
    track: str = ""
    """The series over which windows slide; empty = the first."""
    stride: int = 1
    """Steps between two of these windows."""
    parts: bool = False
    """Also draw trend, season and residual of the forecasts; head components alone has them."""

    def __post_init__(self) -> None:
        if self.words < 1 or self.series < 1 or self.stride < 1:
            raise ValueError("words, series and stride must be at least 1")
