"""Configuration of the LiDAR head: one frozen dataclass per component, torch-free.

Every field is at once the constructor argument, the command-line flag, the YAML key and the help
text. `TREND §n` names the section of arXiv 2412.03054 that a default follows; where the paper is
silent the docstring says so.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foretell.config import TrainerConfig

FORMAT_VERSION = 1
SHARPNESS_RANGE = (1.0, 1e4)
"""Bounds of z, the sharpness of the rendered surface (TREND specification section 15)."""
DEFAULT_SWEEPS = {"nuscenes": 10, "kitti": 1, "folder": 1}
"""Input sweeps of each kind of data set, as its detectors read them."""


def _refuse_unused(config: Any, names: Sequence[str], chosen: str, needed: str) -> None:
    """Raise ValueError if a field that `chosen` leaves unused differs from its default."""
    for field in dataclasses.fields(config):
        if field.name not in names:
            continue
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if getattr(config, field.name) != default:
            raise ValueError(f"{field.name} has no effect with {chosen}: drop it, or set {needed}")


@dataclass(frozen=True)
class DataConfig:
    """Which recorded drives are read and how they become forecasting windows."""

    kind: Literal["nuscenes", "kitti", "folder"] = "nuscenes"
    """Layout of the data set under `root`."""
    root: str = ""
    """Folder of the data set."""
    index: str | None = None
    """Folder of the memory-mapped index; none = <root>/.foretell."""
    version: str = "v1.0-trainval"
    """Version folder of a nuScenes root; unused by other kinds."""
    splits: list[str] = dataclasses.field(default_factory=lambda: ["train"])
    """Training logs: split names, log names or `all`, each optionally cut as `name[first:last]`
    (sweep numbers, last excluded) or `name[0%:75%]`. Windows never cross a cut."""
    val_splits: list[str] = dataclasses.field(default_factory=list)
    """Logs whose loss is watched during training; same grammar as `splits`."""
    eval_splits: list[str] = dataclasses.field(default_factory=lambda: ["val"])
    """Logs that `foretell lidar forecast` scores; same grammar as `splits`."""
    frame: Literal["delivered", "flu"] = "delivered"
    """Axes of points and boxes: as the data set delivers them, or rotated to forward-left-up."""
    num_sweeps: int = 0
    """Input sweeps at t0 (1 = the key sweep alone); more than one adds the `dt` column. 0 = the
    data set's own: nuScenes 10, others 1."""
    sweep_stride: int = 1
    """Take every n-th earlier sweep when accumulating."""
    frame_gap_s: float = 0.5
    """Gap between consecutive forecast frames in seconds; used when `horizons_s` is empty."""
    horizons_s: list[float] = dataclasses.field(default_factory=list)
    """Forecast horizons in seconds after t0; empty = multiples of `frame_gap_s`."""
    gap_tol: float = 0.05
    """Largest allowed distance in seconds between a horizon and the sweep that serves it."""
    max_gap_s: float = 0.75
    """A pause between consecutive sweeps longer than this cuts a log (nuScenes, KITTI: sensor
    period 0.05-0.1 s; ONCE keeps 0.5 s)."""
    key_frames_only: bool = True
    """Where a data set marks key frames, take t0 and the horizons from them alone."""
    window_stride: int = 1
    """Take every n-th admissible t0."""
    point_range: list[float] = dataclasses.field(
        default_factory=lambda: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
    )
    """Volume x_min y_min z_min x_max y_max z_max in metres, in the t0 sensor frame."""
    voxel_size: list[float] = dataclasses.field(default_factory=lambda: [0.075, 0.075, 0.2])
    """Voxel edges x y z in metres; must divide the range."""
    intensity_scale: Literal["auto", "as_delivered", "divide_255", "tanh"] = "auto"
    """How intensity reaches [0, 1]; auto = the data set's own rule (TREND spec: nuScenes / 255)."""
    batch_size: int = 3
    """Windows per process and step."""
    num_workers: int = 0
    """Loader processes."""

    def __post_init__(self) -> None:
        if self.num_sweeps < 0:
            raise ValueError(
                f"num_sweeps must be at least 1, or 0 for the data set's own, got {self.num_sweeps}"
            )
        if self.num_sweeps == 0:
            object.__setattr__(self, "num_sweeps", DEFAULT_SWEEPS[self.kind])


@dataclass(frozen=True)
class MaskConfig:
    """Masking of the input voxels (TREND §4.1: ratio 0.9; granularity as in UniPAD's code)."""

    type: Literal["block8", "voxel", "none"] = "block8"
    """block8 = whole non-empty 8x8x8 blocks of voxels; voxel = single voxels."""
    ratio: float = 0.9
    """Share of the non-empty blocks (or voxels) that is dropped, 0 <= ratio < 1."""


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


@dataclass(frozen=True)
class VolumeConfig:
    """Which feature volume is rendered."""

    source: Literal["x_conv4", "conv_out"] = "x_conv4"
    """x_conv4 keeps more height cells (5 for 40 voxels); conv_out also trains conv_out."""


@dataclass(frozen=True)
class RecConfig:
    """Recurrent embedding: one latent step per horizon (TREND §3.2, eq. 4-5)."""

    cell: Literal["conv", "conv_gru"] = "conv"
    """conv = the paper's shared f_3D; conv_gru = a gated alternative."""
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
    implementation: Literal["fast", "naive"] = "fast"
    """fast = first layer before interpolation, one gather of eight corners; naive = literal."""


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


@dataclass(frozen=True)
class RaysConfig:
    """Which rays are rendered (TREND §3.4, §4.1)."""

    n: int = 12288
    """Rays per sample and frame; fewer available = all kept, the rest marked invalid."""
    sampler: Literal["uniform", "fps"] = "uniform"
    """Uniform, or farthest point sampling."""
    ground_filter: bool = True
    """Drop returns below `z_thd` above the ground plane."""
    z_thd: float = 0.3
    """Height above the ground plane in metres."""
    sensor_height_m: float | None = None
    """Sensor above the ground; none = the data set's (nuScenes 1.84, KITTI 1.73)."""
    min_range: float = 1.0
    """Nearest return used, metres."""
    ego_box: list[float] = dataclasses.field(default_factory=list)
    """x_min x_max y_min y_max of own-car returns in the sensor frame; empty = the data set's."""
    inside_volume_only: bool = True
    """Drop targets outside the t0 volume."""
    only_masked: bool = False
    """Render only rays that end in masked voxels."""
    ground_weight: float = 1.0
    """Sampling weight of returns below `z_thd` where the filter is off; 1 = uniform as published,
    less renders fewer of the many ground rays (ours)."""
    range_power: float = 0.0
    """Sampling weight range**power; 0 = uniform as published (ours, for sparse far returns)."""


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


@dataclass(frozen=True)
class AugConfig:
    """One random transform of the t0 frame for points, poses, origins, actions (default none)."""

    flip_x: bool = False
    """Mirror x with probability 1/2."""
    flip_y: bool = False
    """Mirror y with probability 1/2."""
    rotation_rad: float = 0.0
    """Uniform yaw in [-rotation_rad, rotation_rad]."""
    scale: float = 0.0
    """Uniform scale in [1 - scale, 1 + scale]."""


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
class EvalConfig:
    """Forecast evaluation (TREND specification section 12)."""

    max_rays: int = 0
    """Rays scored per frame, drawn with a fixed seed; 0 = all."""
    min_range_m: float = 1.0
    """Nearest return scored."""
    max_range_m: float = 0.0
    """Farthest return scored; 0 = no limit."""
    horizons_s: list[float] = dataclasses.field(default_factory=list)
    """Horizons scored; empty = those trained. Further ones are marked extrapolated."""
    protocols: list[Literal["a_1s", "a_3s", "b"]] = dataclasses.field(default_factory=list)
    """Published protocols scored beside the config's own ranges."""
    recalibrate_bn: bool = True
    """Re-estimate batch-norm statistics on unmasked training sweeps first."""
    recalibrate_windows: int = 16
    """Training windows used for that."""
    raycast_bins_deg: list[float | list[float]] = dataclasses.field(
        default_factory=lambda: [0.2, 0.35, 0.5]
    )
    """Bins of the copy-last z-buffer; a pair is azimuth x elevation."""
    select_windows: int = 8
    """Training windows on which the copy-last variant is chosen."""
    interventions: bool = True
    """Also score zero_action, shuffled_action and no_time on the saved model."""
    chamfer: bool = True
    """Compute CD and NFCD (nearest neighbours of whole clouds)."""
    chunk: int = 8192
    """Rays rendered at once."""
    max_windows: int = 0
    """Windows scored, evenly spaced; 0 = all."""


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


@dataclass(frozen=True)
class PretrainConfig:
    """`foretell lidar pretrain`: learn a 3D backbone by forecasting LiDAR sweeps."""

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
        if not 0 <= self.mask.ratio < 1:
            raise ValueError(f"mask.ratio must lie in [0, 1), got {self.mask.ratio}")
        if self.rays.only_masked and self.mask.type == "none":
            raise ValueError("rays.only_masked leaves no ray with mask.type none: change one")
        if self.rays.n < 1 or self.render.n_uniform < 2 or self.render.n_importance < 0:
            raise ValueError(
                "rays.n must be at least 1, render.n_uniform 2 and render.n_importance 0, got "
                f"{self.rays.n}, {self.render.n_uniform} and {self.render.n_importance}"
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
        if not 0 < self.rays.ground_weight <= 1:
            raise ValueError(
                f"rays.ground_weight must lie in (0, 1], got {self.rays.ground_weight}"
            )
        if len(self.loss.weights) != 3:
            raise ValueError(
                "loss.weights needs three numbers (range, surface, intensity), "
                f"got {self.loss.weights}"
            )
        horizons = self.data.horizons_s
        if any(later <= earlier for earlier, later in zip([0, *horizons], horizons, strict=False)):
            raise ValueError(f"data.horizons_s must be positive and ascending, got {horizons}")
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
    skip = leave conv_input as initialised (counts as shape-changed, so it needs --partial)."""


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
    variants: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Name -> dotted keys of the pretraining configuration that differ from `base`."""
    folds: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Name -> dotted keys, such as the training and evaluation splits; each variant runs in each
    fold. Empty = one."""
    num_seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    """Variant -> number of seeds, from `--seed` on; a variant not named has one."""
    forecast: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Dotted keys of the forecast configuration."""
    metrics: list[str] = dataclasses.field(default_factory=list)
    """Names of the metrics.json of `foretell lidar forecast` that become columns."""
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
