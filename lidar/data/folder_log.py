"""`log.json` of an own recording: what the columns and axes of its points mean."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.errors import UserError, nearest
from lidar.data.structures import SensorSpec
from lidar.geometry.se3 import is_rigid

_DIRECTION = {
    "f": (1.0, 0.0, 0.0),
    "b": (-1.0, 0.0, 0.0),
    "l": (0.0, 1.0, 0.0),
    "r": (0.0, -1.0, 0.0),
    "u": (0.0, 0.0, 1.0),
    "d": (0.0, 0.0, -1.0),
}
_KEYS = (
    "columns", "axes", "sensor", "sensor_height_m", "rate_hz", "intensity", "ego_box", "num_rings",
    "ego_SE3_lidar", "labelled",
)  # fmt: skip
INTENSITY_RULES = ("as_delivered", "divide_255", "tanh", "none")


@dataclass(frozen=True)
class LogDescription:
    """The content of a log.json."""

    columns: tuple[str, ...]
    sensor: SensorSpec
    ego_SE3_lidar: Float64[ndarray, "4 4"] | None
    """Mount on a vehicle with forward-left-up axes; none = the poses are the LiDAR's own."""
    rate_hz: float
    """0 = not given."""
    every_sweep_labelled: bool
    """Sweeps that the boxes do not mention are empty, not unlabelled."""

    def same_sensor(self, other: "LogDescription") -> bool:
        """Whether points of both logs mean the same."""
        ours, theirs = self.sensor, other.sensor
        return (
            self.columns == other.columns
            and (ours.height_m, ours.ego_box, ours.intensity_rule)
            == (theirs.height_m, theirs.ego_box, theirs.intensity_rule)
            and np.array_equal(ours.flu_R_lidar, theirs.flu_R_lidar)
        )


def read_description(path: Path) -> LogDescription:
    """Read and check a log.json.

    Raises:
        UserError: One line naming the file, the key and what is allowed.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; write it again (docs/own_data.md)") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a JSON object; see docs/own_data.md")
    for key in values:
        if key not in _KEYS:
            raise UserError(
                f"{path}: unknown key {key!r}; allowed: {', '.join(_KEYS)}{nearest(key, _KEYS)}"
            )
    try:
        return _parse(values)
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}; see docs/own_data.md") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}; see docs/own_data.md") from None


def flu_R_from_axes(axes: str) -> Float64[ndarray, "3 3"]:
    """Rotation to forward-left-up of axes such as `flu` or `rfu` (x right, y forward, z up).

    >>> flu_R_from_axes("rfu")[:, 0]
    array([ 0., -1.,  0.])
    """
    if len(axes) != 3 or not set(axes) <= set(_DIRECTION):
        raise ValueError(f"axes must be three of the letters f b l r u d, got {axes!r}")
    rotation = np.array([_DIRECTION[letter] for letter in axes]).T
    if not np.isclose(np.linalg.det(rotation), 1.0):
        raise ValueError(f"axes {axes!r} are not right-handed, such as flu, rfu or lbu")
    return rotation


def _parse(values: dict[str, Any]) -> LogDescription:
    columns = tuple(str(name) for name in values["columns"])
    if columns[:3] != ("x", "y", "z"):
        raise ValueError(f"columns must begin with x, y, z, got {list(columns)}")
    if len(set(columns)) != len(columns) or "dt" in columns:
        raise ValueError(f"columns must differ and not use the name dt, got {list(columns)}")
    intensity = str(values.get("intensity", "as_delivered" if "intensity" in columns else "none"))
    if intensity not in INTENSITY_RULES:
        raise ValueError(f"intensity must be one of {', '.join(INTENSITY_RULES)}, got {intensity}")
    if intensity != "none" and "intensity" not in columns:
        raise ValueError(f"intensity is {intensity!r} but no column is named intensity")
    box = [float(value) for value in values.get("ego_box") or (0.0, 0.0, 0.0, 0.0)]
    if len(box) != 4:
        raise ValueError(f"ego_box must be x_min x_max y_min y_max, got {box}")
    mount = None
    if "ego_SE3_lidar" in values:
        mount = np.array(values["ego_SE3_lidar"], np.float64)
    if mount is not None and mount.shape != (4, 4):
        raise ValueError(f"ego_SE3_lidar must be 4x4, got {list(mount.shape)}")
    if mount is not None and not is_rigid(mount):
        raise ValueError(
            "ego_SE3_lidar is not a rigid motion (NaN, or a rotation that is not orthonormal)"
        )
    return LogDescription(
        columns=columns,
        sensor=SensorSpec(
            name=str(values.get("sensor", "LiDAR")),
            height_m=float(values["sensor_height_m"]),
            flu_R_lidar=flu_R_from_axes(str(values["axes"])),
            ego_box=(box[0], box[1], box[2], box[3]),
            intensity_rule=intensity,
            num_rings=int(values.get("num_rings", 0)),
        ),
        ego_SE3_lidar=mount,
        rate_hz=float(values.get("rate_hz", 0.0)),
        every_sweep_labelled=values.get("labelled") == "all",
    )
