"""Boxes of an own recording: boxes.npz or boxes.parquet (docs/own_data.md)."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from foretell.errors import UserError, missing_package
from lidar.data.tables import BoxTable

_BOX = ("x", "y", "z", "l", "w", "h", "yaw")


def read_boxes(folder: Path, num_sweeps: int, *, every_sweep: bool) -> BoxTable | None:
    """Read the boxes of a log in the LiDAR frame of their sweep; None where there is no file.

    Args:
        folder: Folder of the log.
        num_sweeps: Sweeps of the log.
        every_sweep: Whether sweeps without a box count as annotated.

    Raises:
        UserError: A column is missing, damaged or of another length, or a box names a sweep that
            does not exist.
    """
    npz, parquet = folder / "boxes.npz", folder / "boxes.parquet"
    path = npz if npz.is_file() else parquet
    if not path.is_file():
        return None
    try:
        columns = _read_npz(path) if path == npz else _read_parquet(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; write it again (docs/own_data.md)") from None
    except (EOFError, ValueError, zipfile.BadZipFile):
        raise UserError(
            f"{path} is damaged or holds Python objects instead of numbers and text; write it "
            "again (docs/own_data.md)"
        ) from None
    try:
        sweep = np.asarray(columns["sweep"], np.int64)
        box = np.asarray(columns["box"], np.float64).reshape(len(sweep), 7)
        category = [str(name) for name in columns["category"]]
        track_id = [str(name) for name in columns["track_id"]]
        unknown = np.full((len(sweep), 2), np.nan)
        velocity = np.asarray(columns.get("velocity", unknown), np.float64).reshape(len(sweep), 2)
        num_points = np.asarray(columns.get("num_points", np.full(len(sweep), -1)), np.int64)
    except KeyError as error:
        raise UserError(f"{path} lacks {error}; see docs/own_data.md") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}; see docs/own_data.md") from None
    for name, column in (
        ("category", category),
        ("track_id", track_id),
        ("num_points", num_points),
    ):
        if len(column) != len(sweep):
            raise UserError(f"{path}: {name} has {len(column)} rows for {len(sweep)} boxes")
    if not np.isfinite(box).all():
        raise UserError(f"{path}: box has NaN or infinite values; leave such boxes out")
    if len(sweep) and not (0 <= sweep.min() and sweep.max() < num_sweeps):
        raise UserError(f"{path} names sweep {int(sweep.max())}; the log has 0..{num_sweeps - 1}")
    order = np.argsort(sweep, kind="stable")
    labelled = np.full(num_sweeps, every_sweep)
    labelled[sweep] = True
    return BoxTable(
        sweep=sweep[order],
        boxes=box[order],
        velocity_mps=velocity[order],
        category=tuple(category[n] for n in order),
        track_id=tuple(track_id[n] for n in order),
        num_points=num_points[order],
        labelled=labelled,
    )


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as columns:
        return dict(columns)


def _read_parquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise missing_package("pyarrow", "") from None
    table = pyarrow.parquet.read_table(path)
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    if all(name in columns for name in _BOX):
        columns["box"] = np.column_stack([columns[name] for name in _BOX])
    if "vx" in columns and "vy" in columns:
        columns["velocity"] = np.column_stack([columns["vx"], columns["vy"]])
    return columns
