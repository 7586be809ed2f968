"""Configuration of the forecasters; torch-free."""

from dataclasses import dataclass, field
from typing import Literal

from foretell.blocks.config import (
    AarenConfig,
    LsslConfig,
    LstmConfig,
    Mamba2Config,
    MixerConfig,
    StackConfig,
    TitansConfig,
)

Centre = Literal["mean", "last"]
"""What ridge subtracts from a window and its forecast."""


@dataclass(frozen=True)
class RidgeConfig:
    """Linear map in closed form."""

    centre: Centre = "mean"
    """What is subtracted from a window before the map, and added back."""
    penalty: float = 1e-3
    """Share of the mean diagonal of X^T X that is added to it."""
    penalties: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1])
    """ridge_tuned: tried on validation."""
    contexts: list[int] = field(default_factory=lambda: [96, 336, 512, 720])
    """ridge_tuned: contexts tried on validation; longer ones than the training rows allow are
    left out."""

    def __post_init__(self) -> None:
        if self.penalty < 0 or min(self.penalties, default=0) < 0:
            raise ValueError("penalty and penalties must not be negative")
        if not self.penalties or not self.contexts or min(self.contexts) < 1:
            raise ValueError(
                "penalties and contexts need at least one value each, contexts above 0"
            )


@dataclass(frozen=True)
class DLinearConfig:
    """DLinear."""

    trend_window: int = 25
    """Steps of the moving average, odd."""
    init: Literal["uniform", "mean"] = "uniform"
    """Weights at the start: as torch draws them (released code), or 1 / context, so that the first
    forecast is the window's mean (Time-Series-Library)."""

    def __post_init__(self) -> None:
        if self.trend_window < 1 or self.trend_window % 2 == 0:
            raise ValueError(
                f"trend_window must be odd, so that the average has a centre, got "
                f"{self.trend_window}"
            )


@dataclass(frozen=True)
class PatchTstConfig:
    """PatchTST; defaults are the released ones for the ETT hourly files."""

    patch_length: int = 16
    """Steps of a patch."""
    stride: int = 8
    """Steps between two patches."""
    dim: int = 16
    """Width of a token."""
    num_heads: int = 4
    """Heads of attention."""
    num_layers: int = 3
    """Layers."""
    feedforward_dim: int = 128
    """Width of the MLPs."""
    dropout: float = 0.3
    """Of tokens, attention's output and MLPs."""
    head_dropout: float = 0.0
    """Of the forecast."""

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide dim, got {self.num_heads} heads for {self.dim}"
            )


@dataclass(frozen=True)
class MixerForecasterConfig:
    """A sequence block with tokens before and a head behind it."""

    mixer: MixerConfig = field(default_factory=MixerConfig)
    """The block."""
    tokens: Literal["step", "patch"] = "patch"
    """What the block sees: every step, or patches."""
    patch_length: int = 16
    """Steps of a patch."""
    stride: int = 8
    """Steps between two patches."""
    dim: int = 32
    """Width of a token."""
    head: Literal["last", "flatten"] = "flatten"
    """The forecast from the last token, or from all of them."""
    dropout: float = 0.1
    """Before the head."""

    def __post_init__(self) -> None:
        idle = (self.patch_length, self.stride) != (16, 8)
        if self.tokens == "step" and idle:
            raise ValueError("patch_length and stride have no effect with tokens step: drop them")


def mixer_preset(kind: Literal["lstm", "lssl", "mamba2", "aaren", "titans"]) -> MixerConfig:
    """Two layers of width 32 of one kind, as the benchmark runs them."""
    stack = StackConfig(num_layers=2)
    match kind:
        case "lstm":
            return MixerConfig(kind=kind, lstm=LstmConfig(hidden_dim=32), stack=stack)
        case "lssl":
            return MixerConfig(kind=kind, lssl=LsslConfig(state_dim=32), stack=stack)
        case "mamba2":
            return MixerConfig(kind=kind, mamba2=Mamba2Config(state_dim=16), stack=stack)
        case "aaren":
            return MixerConfig(kind=kind, aaren=AarenConfig(), stack=stack)
        case "titans":
            return MixerConfig(kind=kind, titans=TitansConfig(), stack=stack)
