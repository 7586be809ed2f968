"""Columns of the encoder's input, and intensity brought to [0, 1]."""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.structures import SensorSpec, Sweep

_LIMIT = {"as_delivered": 1.0, "divide_255": 255.0, "tanh": np.inf}


def feature_columns(config: DataConfig, sensor: SensorSpec) -> list[str]:
    """Names of the encoder's input columns, in order.

    >>> from lidar.data.nuscenes import SENSOR
    >>> feature_columns(DataConfig(num_sweeps=10), SENSOR)
    ['x', 'y', 'z', 'intensity', 'dt']
    """
    columns = ["x", "y", "z"]
    if sensor.intensity_rule != "none":
        columns.append("intensity")
    if config.num_sweeps > 1:
        columns.append("dt")
    return columns


def input_features(
    sweep: Sweep, config: DataConfig, sensor: SensorSpec
) -> Float32[ndarray, "points features"]:
    """The encoder's columns of an accumulated sweep, intensity in [0, 1]."""
    names = feature_columns(config, sensor)
    if list(sweep.columns[: len(names)]) == names:
        features = sweep.points[:, : len(names)].copy()
    else:
        features = sweep.points[:, [sweep.columns.index(name) for name in names]]
    if "intensity" in names:
        features[:, names.index("intensity")] = scaled_intensity(sweep, config, sensor)
    return features


def scaled_intensity(
    sweep: Sweep, config: DataConfig, sensor: SensorSpec
) -> Float32[ndarray, " points"]:
    """Intensity in [0, 1], by `data.intensity_scale`; NaN where the sensor gives none.

    Raises:
        UserError: Values are outside what the rule expects.
    """
    rule = sensor.intensity_rule if config.intensity_scale == "auto" else config.intensity_scale
    if "intensity" not in sweep.columns or rule == "none":
        return np.full(len(sweep.points), np.nan, np.float32)
    values = sweep.points[:, sweep.columns.index("intensity")]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if low < 0 or high > _LIMIT[rule]:
        fitting = [name for name, limit in _LIMIT.items() if low >= 0 and high <= limit]
        remedy = (
            f"set --data.intensity_scale to {' or '.join(fitting)}" if fitting else "correct it"
        )
        raise UserError(
            f"intensity of the {sensor.name} sweep {sweep.file} reaches from {low:g} to {high:g}, "
            f"but the rule {rule!r} expects 0 to {_LIMIT[rule]:g}; {remedy}"
        )
    if rule == "tanh":
        return np.asarray(np.tanh(values))
    return np.asarray(values / np.float32(_LIMIT[rule]))
