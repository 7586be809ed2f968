"""The one place that tells the data set kinds apart."""

from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data import folder, kitti, nuscenes
from lidar.data.tables import Progress, Source, no_progress


def read_source(config: DataConfig, *, progress: Progress = no_progress) -> Source:
    """Read the tables of the configured data set.

    Raises:
        UserError: The root is missing or a table is.
    """
    _check_root(config)
    match config.kind:
        case "nuscenes":
            return nuscenes.read_source(config, progress=progress)
        case "kitti":
            return kitti.read_source(config, progress=progress)
        case "folder":
            return folder.read_source(config, progress=progress)


def fingerprint_files(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """Tables whose content, and folders whose listing, an index depends on."""
    _check_root(config)
    match config.kind:
        case "nuscenes":
            return nuscenes.fingerprint_files(config)
        case "kitti":
            return kitti.fingerprint_files(config)
        case "folder":
            return folder.fingerprint_files(config)


def read_sweep_file(
    kind: str, path: Path, columns: tuple[str, ...]
) -> Float32[ndarray, "points columns_and_ring"]:
    """Points of one sweep file in the delivered axes; rings in a further column if it has them."""
    match kind:
        case "nuscenes":
            return nuscenes.read_points(path)
        case "kitti":
            return kitti.read_points(path)
        case _:
            return folder.read_points(path, len(columns))


def _check_root(config: DataConfig) -> None:
    if not config.root:
        raise UserError(
            f"data.root is empty; name the folder of the {config.kind} data: --data.root DIR"
        )
    if not Path(config.root).is_dir():
        raise UserError(
            f"data.root {config.root} is no folder; give the root of a {config.kind} data set with "
            "--data.root DIR, or make a simulated one with `foretell lidar simulate`"
        )
