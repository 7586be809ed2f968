"""PCD v0.7 files with binary points, plain or gzipped."""

import gzip
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from foretell.errors import UserError
from lidar.data.point_files import check_points

_KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(
    path: Path, columns: tuple[str, ...] = ("x", "y", "z", "intensity")
) -> Float32[ndarray, "points columns"]:
    """Named fields of a binary PCD file as float32.

    Raises:
        UserError: The file is no binary PCD, lacks a field or is truncated.
    """
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    header, marker, body = raw.partition(b"DATA binary\n")
    if not marker:
        raise UserError(f"{path} is no PCD file with `DATA binary`; convert it to that form")
    entries = {
        line.split()[0]: line.split()[1:]
        for line in header.decode("ascii", "replace").splitlines()
        if line.strip() and not line.startswith("#")
    }
    try:
        names = entries["FIELDS"]
        counts = entries.get("COUNT", ["1"] * len(names))
        record = np.dtype(
            [
                (name, f"<{_KINDS[kind]}{size}", (int(count),))
                for name, kind, size, count in zip(
                    names, entries["TYPE"], entries["SIZE"], counts, strict=True
                )
            ]
        )
        num_points = int(entries["POINTS"][0])
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{path} has a malformed PCD header: {error}") from None
    missing = [name for name in columns if name not in names]
    if missing:
        raise UserError(f"{path} has the fields {', '.join(names)}, not {', '.join(missing)}")
    if len(body) < num_points * record.itemsize:
        raise UserError(f"{path} is truncated: its header promises {num_points} points")
    table = np.frombuffer(body, record, num_points)
    points = np.column_stack([table[name][:, 0].astype(np.float32) for name in columns])
    check_points(path, points)
    return points
