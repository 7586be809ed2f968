"""Simulated sweeps per second: full HDL-32 sweeps with about 60 actors, one thread.

    python tools/bench/simulate.py [--sweeps 40] [--repeats 5]

Prints median and spread over the repeats of the time of a sweep, files left out and included.
The target is 0.25 s per 34,688-ray sweep (lidar specification, section 9).
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lidar.simulate.config import ActorCounts, SimulateConfig  # noqa: E402
from lidar.simulate.drive import Drive, build_drive, sweeps  # noqa: E402
from lidar.simulate.nuscenes_writer import write_scene  # noqa: E402

TARGET_S = 0.25


def cast(config: SimulateConfig, drive: Drive) -> float:
    """Seconds a sweep takes without writing it; the first, which builds the trees, is left out."""
    taken = sweeps(config, drive, 0, 0)
    next(taken)
    begin = time.perf_counter()
    count = sum(1 for _ in taken)
    return (time.perf_counter() - begin) / count


def cast_and_write(config: SimulateConfig, drive: Drive) -> float:
    """Seconds a sweep takes with its points and truth written as nuScenes."""
    with tempfile.TemporaryDirectory() as folder:
        taken = sweeps(config, drive, 0, 0)
        begin = time.perf_counter()
        write_scene(Path(folder), config, drive, taken, scene=0, on_sweep=lambda: None)
        return (time.perf_counter() - begin) / config.num_sweeps


def main() -> None:
    """Run every case in turn, several times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=40, help="sweeps of a repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of every case")
    options = parser.parse_args()
    cases = {}
    for name, change in (
        ("all rays at once", {}),
        ("motion distortion", {"motion_distortion": True}),
    ):
        config = SimulateConfig(
            scenes=1,
            val_scenes=0,
            duration_s=options.sweeps / 20.0,
            num_actors=ActorCounts(pedestrian=20),
            **change,
        )
        cases[name] = (config, build_drive(config, 0, 0))
    actors = len(next(iter(cases.values()))[1].actors)
    packages = ", ".join(f"{p} {metadata.version(p)}" for p in ("numpy", "open3d-cpu"))
    print(f"{platform.machine()}, one thread, Python {platform.python_version()}, {packages}")
    print(f"HDL-32E, 32 x 1084 = 34,688 rays, {actors} actors, {options.sweeps} sweeps a repeat")
    print(f"{'case':<34}{'median s':>10}{'min':>8}{'max':>8}{'sweeps/s':>10}   target")
    times: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for name, (config, drive) in cases.items():
            times.setdefault(f"{name}, cast", []).append(cast(config, drive))
            times.setdefault(f"{name}, cast + write", []).append(cast_and_write(config, drive))
    for name, taken in times.items():
        median = statistics.median(taken)
        met = "met" if median <= TARGET_S else "missed"
        print(
            f"{name:<34}{median:>10.3f}{min(taken):>8.3f}{max(taken):>8.3f}{1 / median:>10.1f}"
            f"   {TARGET_S} s {met}"
        )


if __name__ == "__main__":
    main()
