"""Configuration of the LiDAR head: one frozen dataclass per component, torch-free.

Every field is at once the constructor argument, the command-line flag, the YAML key and the help
text. `TREND §n` names the section of arXiv 2412.03054 that a default follows; where the paper is
silent the docstring says so.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from foretell.config import TrainerConfig
from lidar.data_config import AugConfig, DataConfig, MaskConfig, RaysConfig
from lidar.eval_config import EvalConfig, check_horizons
from lidar.model_config import (
    FORMAT_VERSION,
    SHARPNESS_RANGE,
    AblationConfig,
    DecoderConfig,
    EncoderConfig,
    FieldConfig,
    LossConfig,
    RecConfig,
    RenderConfig,
    TrendConfig,
    VolumeConfig,
)

__all__ = [
    "AblationConfig",
    "AugConfig",
    "CurriculumConfig",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "EvalConfig",
    "ExportConfig",
    "FORMAT_VERSION",
    "FieldConfig",
    "ForecastConfig",
    "ForecastStudyConfig",
    "LossConfig",
    "MaskConfig",
    "OptimConfig",
    "PrepareConfig",
    "PretrainConfig",
    "RaysConfig",
    "RecConfig",
    "RenderConfig",
    "SHARPNESS_RANGE",
    "TransferConfig",
    "TrendConfig",
    "ViewConfig",
    "VolumeConfig",
    "forecast_horizons_s",
    "num_epochs",
    "trained_horizon",
    "trained_horizons_s",
    "trend_config",
]


@dataclass(frozen=True)
class CurriculumConfig:
    """Horizons by stage (TREND §3.5)."""

    enabled: bool = True
    """False = the last stage's horizon from the first epoch on."""
    stages: list[list[int]] = dataclasses.field(default_factory=lambda: [[1, 12], [2, 36]])
    """Pairs of furthest horizon (in frames) and epochs."""
    max_horizon: int = 4
    """No stage goes further than this."""
    p: float = 0.5
    """Horizon m of a sample is drawn with probability proportional to p**(m-1)."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser (TREND §4.1: lr 2e-4, cosine; the rest is open in the paper)."""

    name: Literal["adamw", "adam"] = "adamw"
    """Optimiser."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """On weights only: none on norms, biases and the sharpness."""
    warmup_iters: int = 500
    """Linear warm-up steps."""
    restart: bool = False
    """Restart the cosine at each curriculum stage that the run reaches; a curriculum that is not
    enabled has one stage."""
    grad_clip: float = 35.0
    """Largest gradient norm; 0 = no clipping."""

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup_iters", "grad_clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class PretrainConfig:
    """`foretell lidar pretrain`: learn a 3D backbone by forecasting LiDAR sweeps."""

    init: str = ""
    """Folder of a saved model whose weights training starts from, such as one pretrained on
    simulated drives; empty = from scratch. All weights must fit."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    mask: MaskConfig = dataclasses.field(default_factory=MaskConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    volume: VolumeConfig = dataclasses.field(default_factory=VolumeConfig)
    rec: RecConfig = dataclasses.field(default_factory=RecConfig)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    rays: RaysConfig = dataclasses.field(default_factory=RaysConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    curriculum: CurriculumConfig = dataclasses.field(default_factory=CurriculumConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    aug: AugConfig = dataclasses.field(default_factory=AugConfig)
    ablation: AblationConfig = dataclasses.field(default_factory=AblationConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    """Lightning Trainer; without max_epochs and max_steps all stages of the curriculum run."""

    def __post_init__(self) -> None:
        self.decoder.refuse_detail(self.field)
        if not 0 <= self.mask.ratio < 1:
            raise ValueError(f"mask.ratio must lie in [0, 1), got {self.mask.ratio}")
        if self.rays.only_masked and self.mask.type == "none":
            raise ValueError("rays.only_masked leaves no ray with mask.type none: change one")
        if self.rays.n < 1 or self.render.n_uniform < 2 or self.render.n_importance < 0:
            raise ValueError(
                "rays.n must be at least 1, render.n_uniform 2 and render.n_importance 0, got "
                f"{self.rays.n}, {self.render.n_uniform} and {self.render.n_importance}"
            )
        if self.curriculum.max_horizon < 0:
            raise ValueError(
                f"curriculum.max_horizon must not be negative, got {self.curriculum.max_horizon}"
            )
        if not 0 <= self.curriculum.p <= 1:
            raise ValueError(f"curriculum.p must lie in [0, 1], got {self.curriculum.p}")
        if self.rec.action != "true" and not self.ablation.recurrent:
            raise ValueError(
                f"rec.action {self.rec.action} has no effect with ablation.level "
                f"{self.ablation.level}, which has no recurrence: change one"
            )
        for name in ("eikonal", "free_space", "line_of_sight"):
            if getattr(self.loss, name) and self.decoder.type == "occupancy":
                raise ValueError(
                    f"loss.{name} has no effect with decoder.type occupancy: drop it, or set "
                    "decoder.type sdf"
                )
        if self.rays.surprise_weight <= 0 or self.rays.surprise_m <= 0:
            raise ValueError(
                "rays.surprise_weight and rays.surprise_m must be positive, got "
                f"{self.rays.surprise_weight:g} and {self.rays.surprise_m:g}"
            )
        if not 0 < self.rays.ground_weight <= 1:
            raise ValueError(
                f"rays.ground_weight must lie in (0, 1], got {self.rays.ground_weight}"
            )
        if len(self.loss.weights) != 3:
            raise ValueError(
                "loss.weights needs three numbers (range, surface, intensity), "
                f"got {self.loss.weights}"
            )
        if not any(self.loss.weights):
            raise ValueError("loss.weights are all 0, which leaves nothing to train: raise one")
        check_horizons("data.horizons_s", self.data.horizons_s)
        for stage in self.curriculum.stages:
            if len(stage) != 2 or min(stage) < 1:
                raise ValueError(
                    "curriculum.stages needs pairs [furthest horizon >= 1, epochs >= 1], "
                    f"got {self.curriculum.stages}"
                )
        if not self.curriculum.stages:
            raise ValueError("curriculum.stages is empty: give at least one [horizon, epochs] pair")


@dataclass(frozen=True)
class ForecastConfig:
    """`foretell lidar forecast`: score and draw what a pretrained model forecasts.

    With `--model` every other key defaults to what the model was trained with; without it the
    baselines alone are scored.
    """

    model: str = ""
    """Model folder; none = baselines alone."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    rays: RaysConfig = dataclasses.field(default_factory=RaysConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    threads: int = 0
    """Torch threads; 0 = the number of free cores."""
    figures: int = 2
    """Windows drawn."""

    def __post_init__(self) -> None:
        if self.figures < 0:
            raise ValueError(f"figures must be at least 0, got {self.figures}")


def forecast_horizons_s(config: PretrainConfig) -> list[float]:
    """Seconds after t0 of every frame that the curriculum can reach.

    Returns:
        `data.horizons_s`, or multiples of `data.frame_gap_s` up to the furthest stage; at least
        one horizon, so that a model of the current frame alone can be scored on the next.
    """
    if config.data.horizons_s:
        return list(config.data.horizons_s)
    furthest = max((stage[0] for stage in config.curriculum.stages), default=1)
    furthest = max(1, min(furthest, config.curriculum.max_horizon))
    return [round(config.data.frame_gap_s * n, 9) for n in range(1, furthest + 1)]


def trained_horizon(config: CurriculumConfig, epoch: int, num_horizons: int) -> int:
    """Furthest horizon, in frames, that an epoch trains (TREND §3.5)."""
    stages = config.stages if config.enabled else config.stages[-1:]
    reached = stages[-1][0]
    last_epoch = 0
    for furthest, epochs in stages:
        last_epoch += epochs
        if epoch < last_epoch:
            reached = furthest
            break
    return min(reached, config.max_horizon, num_horizons)


def trained_horizons_s(config: PretrainConfig) -> list[float]:
    """Seconds after t0 that some epoch of a run supervises; at least the first horizon."""
    horizons_s = forecast_horizons_s(config)
    epochs = config.trainer.max_epochs
    if epochs is None or epochs < 0:
        epochs = num_epochs(config.curriculum)
    reached = [trained_horizon(config.curriculum, n, len(horizons_s)) for n in range(epochs)]
    return horizons_s[: max([1, *reached])]


def num_epochs(config: CurriculumConfig) -> int:
    """Epochs of all stages."""
    return sum(epochs for _, epochs in config.stages)


def trend_config(config: PretrainConfig, features: list[str]) -> TrendConfig:
    """The model's own configuration, as kept in `config.json`."""
    return TrendConfig(
        point_range=config.data.point_range,
        voxel_size=config.data.voxel_size,
        features=features,
        horizons_s=forecast_horizons_s(config),
        encoder=config.encoder,
        volume=config.volume,
        rec=config.rec,
        field=config.field,
        decoder=config.decoder,
        render=config.render,
        loss=config.loss,
        ablation=config.ablation,
    )


@dataclass(frozen=True)
class ViewConfig:
    """`foretell lidar view`: draw recorded sweeps."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    log: str = ""
    """Log name or `name[first:last]`, as in `data.splits`; empty = the first log."""
    sweep: int = 0
    """First sweep drawn, counted from the start of `log`."""
    count: int = 1
    """Consecutive sweeps drawn; more than one also makes a GIF."""
    accumulate: int = 1
    """Sweeps joined into each picture, the drawn one and earlier ones."""
    boxes: bool = True
    """Draw annotated boxes where there are any."""
    window: bool = False
    """Also open the first sweep in an Open3D window."""


@dataclass(frozen=True)
class PrepareConfig:
    """`foretell lidar prepare`: write the index of a data set."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclass(frozen=True)
class TransferConfig:
    """How exported encoder weights enter a network with other inputs."""

    adapt_input: Literal["zero_pad", "skip"] = "zero_pad"
    """More input features than the weights know: zero_pad = new columns of zeros at the end;
    skip = leave conv_input as initialised (counts as shape-changed: a partial load)."""


@dataclass(frozen=True)
class ExportConfig:
    """`foretell lidar export`: the pretrained 3D backbone as a file for detectors."""

    model: str = ""
    """Folder of the pretrained model."""
    format: Literal["auto", "torch", "safetensors"] = "auto"
    """auto = by the ending of --out, torch (as OpenPCDet reads) when --out is a folder."""
    residual_bias: Literal["as_trained", "on", "off"] = "as_trained"
    """Bias of the residual convolutions in the file: CenterPoint configs on, TransFusion-L off.
    The conversion is exact in evaluation mode."""
    in_channels: int = 0
    """Input features of the detector: more than trained are padded with zeros; 0 = as trained."""


@dataclass(frozen=True)
class ForecastStudyConfig:
    """`foretell lidar study`: pretrain and score many variants and seeds, a CSV row each."""

    base: str = ""
    """Preset or file that every row starts from."""
    common: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Dotted keys in which every row differs from `base`."""
    variants: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Name -> dotted keys in which its rows differ from `base` and `common`."""
    folds: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Name -> dotted keys, such as the training and evaluation splits; each variant runs in each
    fold. Empty = one."""
    num_seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    """Variant -> number of seeds, from `--seed` on; a variant not named has one."""
    forecast: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Dotted keys of the forecast configuration."""
    metrics: list[str] = dataclasses.field(default_factory=list)
    """Names of the metrics.json of `foretell lidar forecast` that become columns; `{a,b}` stands
    for each of its words. Cells of baselines that a row does not have stay empty."""
    reference: str = ""
    """Variant that the others are judged against besides copy-last."""
    csv: str = ""
    """File the rows are appended to."""
    jobs: int = 1
    """Rows at a time, one thread each."""
    only: list[str] = dataclasses.field(default_factory=list)
    """Variants to run; empty = all."""
    data_root: str = ""
    """Folder of the data set of every row."""
    smoke: bool = False
    """A few steps of the first row, to see that everything works."""
