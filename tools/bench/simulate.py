"""Simulated sweeps per second: full HDL-32 sweeps with about 60 actors, one thread.

    python tools/bench/simulate.py [--sweeps 40] [--repeats 5]

Prints median and quartiles over the repeats of the time of a sweep, files left out and included.
The target is 0.25 s per 34,688-ray sweep (lidar specification, section 9).
"""

import functools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import timing

timing.one_thread()

from lidar.simulate.config import ActorCounts, SimulateConfig  # noqa: E402
from lidar.simulate.drive import Drive, build_drive, sweeps  # noqa: E402
from lidar.simulate.nuscenes_writer import write_scene  # noqa: E402

TARGET_S = 0.25


def cast(config: SimulateConfig, drive: Drive) -> timing.Seconds:
    """A sweep's time without writing it; the first, which builds the trees, is left out."""
    taken = sweeps(config, drive, 0, 0)
    next(taken)
    watch = timing.Stopwatch()
    count = sum(1 for _ in taken)
    return watch.read() / count


def cast_and_write(config: SimulateConfig, drive: Drive) -> timing.Seconds:
    """A sweep's time with its points and truth written as nuScenes."""
    with tempfile.TemporaryDirectory() as folder:
        taken = sweeps(config, drive, 0, 0)
        watch = timing.Stopwatch()
        write_scene(Path(folder), config, drive, taken, scene=0, on_sweep=lambda: None)
        return watch.read() / config.num_sweeps


def main() -> None:
    """Run every case in turn, several times, and print the table."""
    parser = timing.parser(__doc__)
    parser.add_argument("--sweeps", type=int, default=40, help="sweeps of a repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of every case")
    options = parser.parse_args()
    steps: dict[str, Callable[[], timing.Seconds]] = {}
    for name, distortion in (("all rays at once", False), ("motion distortion", True)):
        config = SimulateConfig(
            scenes=1,
            val_scenes=0,
            duration_s=options.sweeps / 20.0,
            num_actors=ActorCounts(pedestrian=20),
            motion_distortion=distortion,
        )
        drive = build_drive(config, 0, 0)
        steps[f"{name}, cast"] = functools.partial(cast, config, drive)
        steps[f"{name}, cast + write"] = functools.partial(cast_and_write, config, drive)
    timing.print_versions("numpy", "open3d-cpu")
    print(
        f"HDL-32E, 32 x 1084 = 34,688 rays, {len(drive.actors)} actors, {options.sweeps} sweeps "
        "a repeat"
    )
    for name, taken in timing.take_turns(steps, options.repeats, warm_up=0).items():
        cpu = [seconds.cpu for seconds in taken]
        median = statistics.median(cpu)
        print(
            f"{name:<34} cpu {timing.show(cpu)} s  wall {timing.show([s.wall for s in taken])} s  "
            f"{1 / median:.1f} sweeps/s  aim {TARGET_S} s: "
            f"{'met' if median <= TARGET_S else 'missed'}"
        )


if __name__ == "__main__":
    main()
