"""Raw float32 point files, checked on the way in."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from foretell.errors import UserError


def read_binary(path: Path, num_columns: int) -> Float32[ndarray, "points columns"]:
    """Read headerless little-endian float32 [N, num_columns]; `.gz` is unpacked on the fly.

    Raises:
        UserError: The file is missing, truncated, empty or holds NaN or infinite values.
    """
    try:
        if path.suffix == ".gz":
            values = np.frombuffer(gzip.decompress(path.read_bytes()), dtype="<f4")
        else:
            check_size(path, path.stat().st_size, num_columns)
            values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError:
        raise missing_sweep(path) from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"cannot read the sweep {path}: {error}; copy it again") from None
    check_size(path, values.nbytes, num_columns)
    points = values.reshape(-1, num_columns)
    check_points(path, points)
    return points


def missing_sweep(path: Path) -> UserError:
    """The error for a sweep file that the index names but the disk lacks."""
    return UserError(
        f"the sweep file {path} is gone; restore it, or run `foretell lidar prepare` again to "
        "index what is there"
    )


def check_size(path: Path, num_bytes: int, num_columns: int) -> None:
    """Refuse an empty file and one whose size is no whole number of points."""
    if num_bytes == 0:
        raise UserError(f"the sweep {path} is empty; copy it again or remove the file")
    if num_bytes % (4 * num_columns):
        raise UserError(
            f"the sweep {path} has {num_bytes} bytes, not a multiple of {4 * num_columns} "
            f"({num_columns} float32 a point): truncated or of another format; copy it again"
        )


def check_points(path: Path, points: Float32[ndarray, "points columns"]) -> None:
    """Refuse a sweep without points and one with NaN or infinite values."""
    if len(points) == 0:
        raise UserError(f"the sweep {path} has no point; copy it again or remove the file")
    # A finite sum of squares proves that all values are finite, at a small part of the cost of
    # testing each.
    values = points.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(values, values)):
            return
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise UserError(
            f"the sweep {path} has {len(bad)} point(s) with NaN or infinite values, first at row "
            f"{int(bad[0])}; drop such points before saving it"
        )
