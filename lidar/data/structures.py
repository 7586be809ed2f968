"""Sweeps, boxes and forecasting windows: frozen arrays with frames and units."""

from dataclasses import dataclass, field

from jaxtyping import Bool, Float32, Float64, Int16, Int64
from numpy import ndarray


@dataclass(frozen=True)
class SensorSpec:
    """What a data set's LiDAR is and how its axes lie."""

    name: str
    """For messages, such as `HDL-32E`."""
    height_m: float
    """Sensor origin above the ground plane."""
    flu_R_lidar: Float64[ndarray, "3 3"]
    """Rotates the delivered LiDAR axes to forward-left-up."""
    ego_box: tuple[float, float, float, float]
    """x_min, x_max, y_min, y_max of own-car returns in the delivered frame; zeros = none."""
    intensity_rule: str
    """`as_delivered`, `divide_255` or `tanh`: how intensity reaches [0, 1]."""
    num_rings: int
    """Laser rings."""


@dataclass(frozen=True)
class Sweep:
    """One LiDAR rotation in its own sensor frame."""

    points: Float32[ndarray, "points features"]
    """Named columns, the first three x y z in metres."""
    columns: tuple[str, ...]
    """Names of the columns, such as ("x", "y", "z", "intensity")."""
    timestamp_ns: int
    """Time of the sweep."""
    global_SE3_lidar: Float64[ndarray, "4 4"]
    """Sensor pose at the sweep time."""
    ring: Int16[ndarray, " points"] | None = None
    """Laser ring, 0 = lowest."""
    dt_s: Float32[ndarray, " points"] | None = None
    """t_reference - t_point in seconds, >= 0 for accumulated earlier sweeps."""
    frame: str = "lidar"
    """Frame of the points: lidar = the sensor's axes as delivered, lidar_flu = turned to
    forward-left-up."""
    file: str = ""
    """Where the points come from, for messages."""

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != len(self.columns):
            raise ValueError(
                f"points must be [N, {len(self.columns)}] for columns {self.columns}, "
                f"got {self.points.shape}"
            )
        if self.columns[:3] != ("x", "y", "z"):
            raise ValueError(f"the first columns must be x, y, z, got {self.columns[:3]}")


@dataclass(frozen=True)
class Boxes:
    """Annotated objects of one sweep, in the frame of the sweep's points."""

    boxes: Float64[ndarray, "boxes 7"]
    """x y z l w h yaw: centre in metres, l along the heading, yaw counter-clockwise from +x."""
    velocity_mps: Float64[ndarray, "boxes 2"]
    """Velocity in the box frame's axes (x, y), NaN where unknown."""
    category: tuple[str, ...]
    """Category name of each box."""
    track_id: tuple[str, ...]
    """Identity of each object over the log."""
    num_points: Int64[ndarray, " boxes"]
    """Annotated number of LiDAR points; -1 where unknown."""
    frame: str = "lidar"
    """As in `Sweep`."""

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class TrainingWindow:
    """One forecasting sample; every array is in the t0 sensor frame. There is no label field.

    S supervised frames (indices into the horizons, 0 = t0), R rays each, l horizons.
    """

    points: Float32[ndarray, "points features"]
    """Encoder input after masking; columns as `features` of the model."""
    t_s: Float32[ndarray, " frames"]
    """[l+1] seconds since t0, t_s[0] = 0."""
    t0_SE3_tn: Float64[ndarray, "frames 4 4"]
    """[l+1] sensor pose at t_n in the t0 frame."""
    action: Float32[ndarray, "horizons 3"]
    """[l] what the recurrence is told: dx, dy (m), dtheta (rad) from t_n to t_n+1 in the axes of
    `rec.action_frame` (forward-left-up at t_n by default), of this window or, with `rec.action`
    shuffled, of another."""
    frame_index: Int64[ndarray, " supervised"]
    """[S] which frames have rays."""
    ray_o: Float32[ndarray, "supervised rays 3"]
    """Ray origins."""
    ray_d: Float32[ndarray, "supervised rays 3"]
    """Unit ray directions."""
    ray_r: Float32[ndarray, "supervised rays"]
    """Measured range in metres."""
    ray_i: Float32[ndarray, "supervised rays"]
    """Measured intensity in [0, 1]; NaN where the sensor gives none."""
    ray_valid: Bool[ndarray, "supervised rays"]
    """False on padding."""
    seed: int
    """Key of every later random draw of this sample (render jitter)."""
    kept: dict[str, float] = field(default_factory=dict)
    """Share of points or rays that each filter kept."""
    copy_last_l1_m: float = float("nan")
    """What copying the t0 sweep scores on the last supervised frame's rays; NaN without rays."""
    name: str = ""
    """<log>/<sweep number>, for messages."""
