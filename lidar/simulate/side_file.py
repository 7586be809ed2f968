"""Truth beside the data: one .npz per sweep, rows in the order of the sweep's points.

Keys: actor, label, static, normal, exact_range_m, flow_m (see `drive.Truth`) and, with motion
distortion, point_time_s: the instant of each point relative to the sweep time.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy import ndarray

from lidar.simulate.drive import SimulatedSweep

_EPOCH = (1980, 1, 1, 0, 0, 0)


def side_columns(
    sweep: SimulatedSweep, *, truth: bool, motion_distortion: bool
) -> dict[str, ndarray]:
    """The arrays kept beside a sweep; empty when there is nothing to keep."""
    columns: dict[str, ndarray] = {}
    if truth:
        known = sweep.truth
        columns = {
            "actor": known.actor,
            "label": known.label,
            "static": known.static,
            "normal": known.normal.astype(np.float16),
            "exact_range_m": known.exact_range_m,
            "flow_m": known.flow_m,
        }
    if motion_distortion:
        columns["point_time_s"] = sweep.point_time_s
    return columns


def write_side_file(path: Path, columns: dict[str, ndarray]) -> None:
    """Write an .npz whose bytes depend on nothing but the arrays."""
    if not columns:
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in columns.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED, 1
            )
