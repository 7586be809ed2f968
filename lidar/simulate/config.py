"""Configuration of `foretell lidar simulate`, torch-free."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""nuScenes detection classes; a class id is a position in this tuple."""

MAX_MINI_TRAIN, MAX_MINI_VAL = 8, 2


@dataclass(frozen=True)
class ActorCounts:
    """How many actors of each class a drive starts with; colliding ones are taken out again."""

    car: int = 24
    """Half of them parked."""
    truck: int = 3
    """Driving, the first ones with a trailer."""
    construction_vehicle: int = 1
    """The first stands in the work zone, others drive slowly."""
    bus: int = 1
    """Driving."""
    trailer: int = 2
    """Towed by a truck, parked when there are more trailers than trucks."""
    barrier: int = 4
    """Around the work zone."""
    motorcycle: int = 3
    """Every third parked, without a rider."""
    bicycle: int = 4
    """Every third parked, without a rider."""
    pedestrian: int = 16
    """Walking, standing and crossing."""
    traffic_cone: int = 6
    """Beside the work zone."""

    def __post_init__(self) -> None:
        for name in CLASSES:
            if getattr(self, name) < 0:
                raise ValueError(f"num_actors.{name} must be >= 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class SimulateConfig:
    """`foretell lidar simulate`: drive through invented streets and write what a LiDAR sees."""

    scenes: int = 10
    """Drives; the last `val_scenes` + `test_scenes` of them are not for training."""
    val_scenes: int = 2
    """Drives of the validation split."""
    test_scenes: int = 0
    """Drives of the test split, after those of validation."""
    duration_s: float = 20.0
    """Length of a drive in seconds."""
    sweep_hz: float = 20.0
    """Sweeps per second (nuScenes 20, KITTI 10)."""
    key_every: int = 10
    """Every n-th sweep is an annotated key frame (nuScenes 10 = 2 Hz)."""
    workers: int = 1
    """Processes; the files are the same whatever their number."""
    format: Literal["nuscenes", "kitti", "folder"] = "nuscenes"
    """Layout written: a nuScenes root, KITTI odometry sequences, or one folder per drive."""
    version: str = "v1.0-mini"
    """nuScenes version folder. v1.0-mini takes the scene names of mini_train (at most 8 drives) and
    mini_val (at most 2); any other name makes sim-0000, ... with the splits in splits.json."""
    sensor: Literal["hdl32", "hdl64", "small"] = "hdl32"
    """hdl32 = nuScenes, 32 x 1084; hdl64 = KITTI, 64 x 2000; small = 20 x 360 for quick runs."""
    max_range_m: float = 100.0
    """No returns beyond."""
    noise_m: float = 0.02
    """Standard deviation of the range, along the ray."""
    dropout: float = 0.02
    """Base probability that a return is lost; grows with range, grazing angle and dark material.
    0 switches all loss off."""
    motion_distortion: bool = False
    """Each column at its own instant, points in the sensor frame of that instant."""
    own_car: bool = False
    """Returns from the roof of the own car, within about 1 m."""
    truth: bool = True
    """Write actor, class, normal, flow, ... of every point beside the data."""
    time_jitter_s: float = 0.0
    """Standard deviation of the sweep times."""
    ego: Literal["mixed", "straight", "lane_change", "turn_left", "turn_right", "stop_and_go"] = (
        "mixed"
    )
    """Route of the own car; mixed = another one for each drive."""
    ego_speed_mps: float = 9.0
    """Speed the own car aims at, +- 15 % by drive."""
    slope: float = 0.015
    """Largest slope of the ground along x and y."""
    num_actors: ActorCounts = dataclasses.field(default_factory=ActorCounts)
    """Actors of a drive by class."""
    replay: str | None = None
    """Folder of an Argoverse 2 log whose tracks and poses are replayed instead of traffic."""

    def __post_init__(self) -> None:
        if self.scenes < 1 or self.val_scenes < 0 or self.test_scenes < 0:
            raise ValueError(
                f"scenes must be >= 1 and val_scenes, test_scenes >= 0, got {self.scenes}, "
                f"{self.val_scenes}, {self.test_scenes}"
            )
        if self.val_scenes + self.test_scenes > self.scenes:
            raise ValueError(
                f"val_scenes + test_scenes = {self.val_scenes} + {self.test_scenes} are more than "
                f"scenes = {self.scenes}: raise scenes, or lower them, such as --val_scenes 0"
            )
        for name in ("duration_s", "sweep_hz", "key_every", "workers", "max_range_m"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.noise_m < 0 or self.time_jitter_s < 0:
            raise ValueError("noise_m and time_jitter_s must be >= 0")
        if self.duration_s * self.sweep_hz < 1:
            raise ValueError(f"duration_s = {self.duration_s} holds no sweep at {self.sweep_hz} Hz")
        if self.time_jitter_s > 0.1 / self.sweep_hz:
            raise ValueError(
                f"time_jitter_s = {self.time_jitter_s} is above a tenth of the sweep period"
            )
        if self.replay is not None and self.scenes != 1:
            raise ValueError(f"a replayed log is one drive: scenes must be 1, got {self.scenes}")
        if self.format == "nuscenes" and self.version == "v1.0-mini":
            self._check_mini()

    def _check_mini(self) -> None:
        held_out = self.val_scenes + self.test_scenes
        if self.test_scenes or held_out > MAX_MINI_VAL or self.scenes - held_out > MAX_MINI_TRAIN:
            raise ValueError(
                f"v1.0-mini holds at most {MAX_MINI_TRAIN} training and {MAX_MINI_VAL} validation "
                f"drives and no test drives, got {self.scenes - held_out}, {self.val_scenes}, "
                f"{self.test_scenes}; choose another version, such as v1.0-sim"
            )

    @property
    def num_sweeps(self) -> int:
        """Sweeps of one drive."""
        return max(1, round(self.duration_s * self.sweep_hz))

    def split_of(self, scene: int) -> Literal["train", "val", "test"]:
        """Which split a drive belongs to."""
        if scene >= self.scenes - self.test_scenes:
            return "test"
        if scene >= self.scenes - self.test_scenes - self.val_scenes:
            return "val"
        return "train"
