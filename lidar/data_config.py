"""Configuration of what is read: data, windows, input mask, rays, augmentation; torch-free."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

DEFAULT_SWEEPS = {"nuscenes": 10, "kitti": 1, "folder": 1}
"""Input sweeps of each kind of data set, as its detectors read them."""


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
    """Loader processes; raise it while `train/data_s` is a large share of `train/step_s`."""

    def __post_init__(self) -> None:
        if self.num_sweeps < 0:
            raise ValueError(
                f"num_sweeps must be at least 1, or 0 for the data set's own, got {self.num_sweeps}"
            )
        least = {"sweep_stride": 1, "window_stride": 1, "batch_size": 1, "num_workers": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        if self.gap_tol < 0 or self.max_gap_s <= 0 or self.frame_gap_s <= 0:
            raise ValueError(
                "gap_tol must not be negative, max_gap_s and frame_gap_s must be positive, got "
                f"{self.gap_tol:g}, {self.max_gap_s:g} and {self.frame_gap_s:g}"
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
    surprise_weight: float = 1.0
    """Sampling weight of returns of future frames that a z-buffer of the t0 sweep misses by more
    than `surprise_m`: what moved, appeared or was hidden. 1 = uniform as published (ours)."""
    surprise_m: float = 0.5
    """Range error in metres from which a return is a surprise."""

    def __post_init__(self) -> None:
        if self.ground_filter and self.ground_weight != 1:
            raise ValueError(
                "ground_weight has no effect with ground_filter true: drop it, or set "
                "ground_filter false"
            )
        if self.ego_box and not (
            len(self.ego_box) == 4
            and self.ego_box[0] < self.ego_box[1]
            and self.ego_box[2] < self.ego_box[3]
        ):
            raise ValueError(f"ego_box needs x_min x_max y_min y_max, got {self.ego_box}")


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

    def __post_init__(self) -> None:
        if self.rotation_rad < 0 or not 0 <= self.scale < 1:
            raise ValueError(
                "rotation_rad must not be negative and scale must lie in [0, 1), got "
                f"{self.rotation_rad:g} and {self.scale:g}"
            )
