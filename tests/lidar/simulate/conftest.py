"""Small simulated roots that several tests read."""

import dataclasses
from pathlib import Path

import pytest

from foretell.config import RunOptions
from lidar.simulate.config import ActorCounts, SimulateConfig

TINY = SimulateConfig(
    scenes=2, val_scenes=1, duration_s=2.0, sweep_hz=10.0, key_every=5, sensor="small"
)


@pytest.fixture(scope="session")
def open3d() -> object:
    """Open3D, or a skip."""
    return pytest.importorskip("open3d", exc_type=ImportError)


@pytest.fixture(scope="session")
def tiny() -> SimulateConfig:
    """Two drives of two seconds with a coarse sensor."""
    return TINY


@pytest.fixture(scope="session")
def nuscenes_config() -> SimulateConfig:
    """One full-resolution drive of 2.5 s in which all ten classes stand close, and a val drive."""
    return dataclasses.replace(
        TINY,
        duration_s=2.5,
        sweep_hz=4.0,
        key_every=2,
        sensor="hdl32",
        num_actors=ActorCounts(pedestrian=24, bicycle=6, motorcycle=6, truck=5, trailer=3, bus=4),
    )


@pytest.fixture(scope="session")
def nuscenes_root(
    tmp_path_factory: pytest.TempPathFactory, open3d: object, nuscenes_config: SimulateConfig
) -> Path:
    """The drives of `nuscenes_config`, seed 0."""
    from lidar.simulate.command import run

    root = tmp_path_factory.mktemp("nuscenes")
    run(nuscenes_config, RunOptions(out=str(root), seed=0, quiet=True))
    return root
