"""Configuration of the pretraining model, component by component; torch-free."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

FORMAT_VERSION = 1
"""Of the `config.json` of saved models."""
SHARPNESS_RANGE = (1.0, 1e4)
"""Bounds of z, the sharpness of the rendered surface (TREND specification section 15)."""


def _check_widths(name: str, widths: Sequence[int], fewest: int) -> None:
    if len(widths) < fewest:
        raise ValueError(f"{name} needs at least one width")
    if any(width < 1 for width in widths):
        raise ValueError(f"widths of {name} must be positive, got {list(widths)}")


def _refuse_unused(
    config: Any, names: Sequence[str], chosen: str, needed: str, *, prefix: str = ""
) -> None:
    """Raise ValueError if a field that `chosen` leaves unused differs from its default."""
    for field in dataclasses.fields(config):
        if field.name not in names:
            continue
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if getattr(config, field.name) != default:
            raise ValueError(
                f"{prefix}{field.name} has no effect with {chosen}: drop it, or set {needed}"
            )


@dataclass(frozen=True)
class EncoderConfig:
    """3D sparse backbone, parameter names as in OpenPCDet's VoxelResBackBone8x."""

    name: Literal["voxel_resnet"] = "voxel_resnet"
    """Which backbone is pretrained."""
    channels: list[int] = dataclasses.field(default_factory=lambda: [16, 32, 64, 128])
    """Widths of the four stages (strides 1, 2, 2, 2)."""
    blocks_per_stage: int = 2
    """Residual blocks in each stage."""
    out_channels: int = 128
    """Width of conv_out, which halves z once more."""
    residual_bias: bool = True
    """Bias in the residual convolutions: CenterPoint configs true, TransFusion-L false."""

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or min(*self.channels, self.out_channels) < 1:
            raise ValueError(
                "channels needs four positive widths and out_channels one, got "
                f"{self.channels} and {self.out_channels}"
            )
        if self.blocks_per_stage < 1:
            raise ValueError(f"blocks_per_stage must be at least 1, got {self.blocks_per_stage}")


@dataclass(frozen=True)
class VolumeConfig:
    """Which feature volume is rendered."""

    source: Literal["x_conv4", "conv_out"] = "x_conv4"
    """x_conv4 keeps more height cells (5 for 40 voxels); conv_out also trains conv_out."""


@dataclass(frozen=True)
class RecConfig:
    """Recurrent embedding: one latent step per horizon (TREND §3.2, eq. 4-5)."""

    cell: Literal["conv", "conv_gru", "mamba2", "aaren"] = "conv"
    """conv = the paper's shared f_3D; conv_gru = a gated alternative; mamba2, aaren = that sequence
    block on every cell, after a convolution that moves content between cells."""
    action: Literal["true", "zero", "shuffled"] = "true"
    """What the recurrence is told of the ego motion: the truth, nothing, or another window's."""
    action_enc: Literal["split16", "none"] = "split16"
    """split16 = 16 sinusoid dims for dx, 16 for dy; none = raw metres."""
    action_frame: Literal["ego_tn", "sensor_t0"] = "ego_tn"
    """Axes of dx, dy: forward-left-up at t_n, or the t0 sensor frame."""
    gap_time: Literal["auto", "on", "off"] = "auto"
    """Append the sinusoid of the gap; auto = only when the configured gaps differ."""
    f_act: list[int] = dataclasses.field(default_factory=lambda: [32, 16])
    """Widths of the action MLP."""
    f3d: Literal["conv_bn_relu_conv", "conv_bn_relu"] = "conv_bn_relu_conv"
    """Layers of the shared dense convolution."""
    norm: Literal["batch_per_step", "batch", "none"] = "batch_per_step"
    """Normalisation between the convolutions of f_3D: batch norm, whose running statistics are
    kept for each step, or one set for all (training is the same, evaluation mixes the steps)."""
    residual: bool = False
    """Add the previous volume to the next (open in the paper)."""
    detach_intermediate: bool = False
    """Cut the gradient between steps."""

    def __post_init__(self) -> None:
        _check_widths("f_act", self.f_act, 1)
        if self.cell != "conv":
            _refuse_unused(self, ("f3d", "norm", "residual"), f"cell {self.cell}", "cell conv")


@dataclass(frozen=True)
class FieldConfig:
    """Temporal LiDAR neural field (TREND §3.3, eq. 6-7; NeurIPS version for f_geo)."""

    time: bool = True
    """Feed the sinusoid of t; off = a field without time."""
    time_scale: float = 10.0
    """Seconds since t0 are multiplied by this before the sinusoid."""
    time_dim: int = 32
    """Width of the time sinusoid."""
    f_geo: list[int] = dataclasses.field(default_factory=lambda: [64, 64, 64])
    """Widths of f_geo's layers (Softplus beta 100); the last is d_geo."""
    f_sdf: list[int] = dataclasses.field(default_factory=lambda: [64])
    """Hidden widths of f_SDF."""
    f_dir: list[int] = dataclasses.field(default_factory=lambda: [16, 16])
    """Widths of the direction MLP."""
    f_int: list[int] = dataclasses.field(default_factory=lambda: [64, 64])
    """Hidden widths of the intensity MLP."""
    normalize_scene: bool = True
    """Divide positions by max(abs(range))."""
    padding: Literal["zeros", "border"] = "zeros"
    """Features outside the volume."""
    grid: Literal["receptive_field", "cell", "corners"] = "receptive_field"
    """Where a cell's feature sits: its receptive-field centre, (8i+4)v, or align_corners."""
    detail: list[Literal["x_conv1", "x_conv2", "x_conv3"]] = dataclasses.field(default_factory=list)
    """Finer encoder stages (strides 1, 2, 4) whose t0 features the field is also given, at the same
    place for every frame: the scene as it is now at the resolution of the input. Not in the paper.
    """
    implementation: Literal["fast", "naive"] = "fast"
    """fast = first layer before interpolation, one gather of eight corners; naive = literal."""

    def __post_init__(self) -> None:
        for name, fewest in (("f_geo", 1), ("f_sdf", 0), ("f_dir", 1), ("f_int", 0)):
            _check_widths(name, getattr(self, name), fewest)
        if len(set(self.detail)) < len(self.detail):
            raise ValueError(f"detail names a stage twice: {self.detail}")


@dataclass(frozen=True)
class DecoderConfig:
    """What is predicted from the volume."""

    type: Literal["sdf", "occupancy"] = "sdf"
    """sdf = rendered range; occupancy = ALSO-style occupied/free queries along the ray."""
    occupancy_queries: int = 4096
    """Query points per frame of the occupancy decoder."""
    occupancy_widths: list[int] = dataclasses.field(default_factory=lambda: [128, 128, 128])
    """Linear layers of the occupancy decoder."""
    occupancy_delta_m: float = 0.1
    """Distance along the ray of the occupied and the free query next to a return."""

    def __post_init__(self) -> None:
        if self.type != "occupancy":
            names = ("occupancy_queries", "occupancy_widths", "occupancy_delta_m")
            _refuse_unused(self, names, f"type {self.type}", "type occupancy")

    def refuse_detail(self, field: FieldConfig) -> None:
        """Raise ValueError if `field.detail` is set for a decoder that has no such field."""
        if self.type == "occupancy":
            _refuse_unused(
                field, ("detail",), "decoder.type occupancy", "decoder.type sdf", prefix="field."
            )


@dataclass(frozen=True)
class RenderConfig:
    """Samples along the ray and their weights (TREND eq. 8-11)."""

    n_uniform: int = 36
    """Stratified samples."""
    n_importance: int = 12
    """Samples drawn from the weights of the stratified ones."""
    importance_inv_s: float = 64.0
    """Fixed sharpness of the importance pass, in normalised units."""
    near: float = 1.0
    """First sample in metres."""
    far: float | None = None
    """Last sample in metres; none = exit of the volume box, and for a ray that misses the box the
    point nearest to its centre."""
    alpha: Literal["log", "eps"] = "log"
    """log = exact and stable; eps = NeuS code's 1e-5 in the quotient."""
    last_alpha: Literal["zero", "one"] = "zero"
    """Opacity of the last sample."""
    depth_at: Literal["mid", "left"] = "mid"
    """Range of an interval: mid-point (NeuS code) or near end (as eq. 11 prints)."""
    normalize_weights: bool = False
    """Divide the range by the sum of weights."""
    inv_s_init: float = 20.085536923187668
    """Initial sharpness z = exp(10 v), v0 = 0.3, in normalised units; z stays in [1, 1e4]."""
    chunk: int = 0
    """Rays per backward chunk; 0 = all at once."""
    checkpoint: bool = False
    """Recompute the field in the backward pass."""

    def __post_init__(self) -> None:
        low, high = SHARPNESS_RANGE
        if not low <= self.inv_s_init <= high:
            raise ValueError(
                f"inv_s_init must lie in [{low:g}, {high:g}], where z stays: got {self.inv_s_init}"
            )
        if self.near < 0 or self.chunk < 0:
            raise ValueError(
                f"near and chunk must not be negative, got {self.near:g} and {self.chunk}"
            )
        if self.far is not None and self.far <= self.near:
            raise ValueError(f"far must exceed near {self.near:g}, got {self.far:g}")


@dataclass(frozen=True)
class LossConfig:
    """L1 terms and their weights (TREND eq. 12; NeurIPS version: three terms)."""

    weights: list[float] = dataclasses.field(default_factory=lambda: [1.0, 1.0, 1.0])
    """Weights of range, surface and intensity; the occupancy decoder weighs its two terms 1:1."""
    unit: Literal["metres", "normalised"] = "metres"
    """Unit of the range and surface terms."""
    intensity: bool = True
    """Train the intensity head."""
    surface: bool = True
    """Ask s = 0 at the hit."""
    eikonal: float = 0.0
    """Weight of (|grad s| - 1)^2 by finite differences."""
    free_space: float = 0.0
    """Weight of a hinge that keeps s positive before the hit."""
    line_of_sight: float = 0.0
    """Weight of the weights outside a band around the hit."""


@dataclass(frozen=True)
class AblationConfig:
    """How much of TREND is switched on (NeurIPS version, ablation table)."""

    level: Literal["scratch", "nf", "rec", "full"] = "full"
    """scratch = no pretraining: the initialised model is saved as it is; nf = current frame only;
    rec = + recurrent embedding, field without time; full = TREND."""

    @property
    def recurrent(self) -> bool:
        """Whether there is a recurrent embedding."""
        return self.level in ("rec", "full")


@dataclass(frozen=True)
class TrendConfig:
    """The pretraining model: everything `Trend(config)` needs and `config.json` keeps."""

    point_range: list[float] = dataclasses.field(
        default_factory=lambda: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
    )
    """Volume in metres, from `data.point_range`."""
    voxel_size: list[float] = dataclasses.field(default_factory=lambda: [0.075, 0.075, 0.2])
    """Voxel edges in metres, from `data.voxel_size`."""
    features: list[str] = dataclasses.field(
        default_factory=lambda: ["x", "y", "z", "intensity", "dt"]
    )
    """Input columns in order."""
    horizons_s: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0])
    """Horizons in seconds, one step of the recurrence each."""
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    volume: VolumeConfig = dataclasses.field(default_factory=VolumeConfig)
    rec: RecConfig = dataclasses.field(default_factory=RecConfig)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    ablation: AblationConfig = dataclasses.field(default_factory=AblationConfig)
    copy_last: dict[str, str] = dataclasses.field(default_factory=dict)
    """Metric -> copy-last variant chosen for it on training windows, once trained."""

    def __post_init__(self) -> None:
        self.decoder.refuse_detail(self.field)
