"""Configurations of the verbs of `foretell forecast`; torch-free."""

from dataclasses import dataclass, field
from typing import Literal

from forecasting.data_config import DataConfig
from forecasting.model_config import (
    DLinearConfig,
    MixerForecasterConfig,
    PatchTstConfig,
    RidgeConfig,
    mixer_preset,
)
from forecasting.s2ip_config import S2ipConfig
from foretell.config import TrainerConfig, with_aliases

Name = Literal[
    "last", "seasonal_naive", "drift", "ridge", "ridge_tuned", "nlinear", "dlinear", "patchtst",
    "s2ip", "lstm", "lssl", "mamba2", "aaren", "titans",
]  # fmt: skip
Ablation = Literal[
    "none", "attention", "block", "random", "random_anchors", "no_prefix", "no_decomposition",
    "shuffled",
]  # fmt: skip
CHEAP_ABLATIONS: tuple[Ablation, ...] = ("none", "attention", "block")
"""Of S2IP-LLM: without a language model, always beside it."""
DEAR_ABLATIONS: tuple[Ablation, ...] = (
    "random", "random_anchors", "no_prefix", "no_decomposition", "shuffled",
)  # fmt: skip
"""As slow as itself."""
CONTEXT_ALIASES = ("look_back", "lookback", "input_size")
"""Other names of `context` on the way in."""
UNTRAINED = ("last", "seasonal_naive", "drift", "ridge", "ridge_tuned")
"""Names without a seed: nothing is drawn."""


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained."""

    lr: float = 1e-3
    """Learning rate of Adam."""
    batch: int = 32
    """Windows of all channels in an optimiser step."""
    max_epochs: int = 20
    """Epochs at most."""
    patience: int = 3
    """Epochs without a better validation error before it stops; the best weights are kept."""
    windows_per_epoch: int | None = None
    """Training windows of an epoch, drawn anew each time; none = all."""
    val_windows: int | None = None
    """Validation windows that stop training, evenly spaced over all; none = all."""
    decay: float = 1.0
    """Factor of the learning rate from one epoch to the next, from the third epoch on."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 < self.decay <= 1:
            raise ValueError(
                f"lr must be positive and decay in (0, 1], got {self.lr} and {self.decay}"
            )
        for name in ("batch", "max_epochs", "patience", "windows_per_epoch", "val_windows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class NetworksConfig:
    """Sizes of the networks."""

    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    dlinear: DLinearConfig = field(default_factory=DLinearConfig)
    patchtst: PatchTstConfig = field(default_factory=PatchTstConfig)
    s2ip: S2ipConfig = field(default_factory=S2ipConfig)
    lstm: MixerForecasterConfig = field(
        default_factory=lambda: MixerForecasterConfig(mixer_preset("lstm"))
    )
    lssl: MixerForecasterConfig = field(
        default_factory=lambda: MixerForecasterConfig(mixer_preset("lssl"))
    )
    mamba2: MixerForecasterConfig = field(
        default_factory=lambda: MixerForecasterConfig(mixer_preset("mamba2"))
    )
    aaren: MixerForecasterConfig = field(
        default_factory=lambda: MixerForecasterConfig(mixer_preset("aaren"))
    )
    titans: MixerForecasterConfig = field(
        default_factory=lambda: MixerForecasterConfig(mixer_preset("titans"))
    )


@dataclass(frozen=True)
class FitsConfig:
    """Training of each family."""

    nlinear: FitConfig = field(default_factory=lambda: FitConfig(lr=5e-4, batch=32, decay=0.9))
    dlinear: FitConfig = field(default_factory=lambda: FitConfig(lr=5e-3, batch=256, decay=0.8))
    patchtst: FitConfig = field(default_factory=lambda: FitConfig(lr=1e-3, batch=32))
    s2ip: FitConfig = field(default_factory=lambda: FitConfig(lr=1e-4, batch=32, decay=0.9))
    mixers: FitConfig = field(default_factory=lambda: FitConfig(lr=1e-3, batch=32))


@dataclass(frozen=True)
class BenchmarkConfig:
    """`foretell forecast benchmark`: models side by side on every window of the test rows."""

    data: DataConfig = field(default_factory=DataConfig)
    models: list[Name] = field(
        default_factory=lambda: ["last", "seasonal_naive", "drift", "ridge", "nlinear", "dlinear"]
    )
    """Which, such as ridge,dlinear."""
    context: int = with_aliases(512, *CONTEXT_ALIASES)
    """Past steps that a forecast sees; also look_back, lookback, input_size."""
    horizons: list[int] = field(default_factory=lambda: [96])
    """Future steps, a table row each, such as 96,192."""
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    fits: FitsConfig = field(default_factory=FitsConfig)
    ablate: bool = False
    """With s2ip: rows for each part left out that take as long as itself, s2ip-random and others;
    those without a language model stand beside it in any case."""
    parts: list[Literal["val", "test"]] = field(default_factory=lambda: ["test"])
    """Which windows are scored; [val] alone ranks variants without a look at the test."""
    jobs: int = 1
    """Rows at a time, each in a process of its own."""
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(threads=1, accelerator="auto")
    )

    def __post_init__(self) -> None:
        if not self.models or not self.horizons:
            raise ValueError("models and horizons need at least one entry each")
        for name in ("models", "horizons"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice: {values}")
        if self.context < 1 or min(self.horizons) < 1 or self.jobs < 1:
            raise ValueError("context, horizons and jobs must be at least 1")
        if not self.parts:
            raise ValueError("parts is empty: name val or test")
