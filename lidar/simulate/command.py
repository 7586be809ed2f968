"""`foretell lidar simulate`: draw drives and write them, several at a time, in any restart."""

import concurrent.futures
import dataclasses
import json
import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory, atomic_write, default_out
from lidar.simulate import folder_writer, kitti_writer, nuscenes_writer
from lidar.simulate.config import SimulateConfig
from lidar.simulate.drive import build_drive, sweeps

FORMAT_VERSION = 1
_LOG = logging.getLogger(__name__)
_REPORT_S = 5.0
_counter: Any = None  # sweeps written by all processes; set in each worker when it starts


def run(config: SimulateConfig, options: RunOptions) -> None:
    """Write all drives of a configuration into `options.out`.

    A drive that a previous, interrupted call finished is kept; the files do not depend on the
    number of workers.

    Raises:
        UserError: The folder holds something else, or the log to replay cannot be read; then
            nothing is written.
    """
    root = Path(options.out or default_out("lidar-simulate", "default"))
    if config.replay is not None:
        build_drive(config, options.seed, 0)  # Raises before the folder is claimed.
    _claim(root, config, options.seed)
    RunDirectory.create("lidar-simulate", config, dataclasses.replace(options, out=str(root)))
    waiting = [scene for scene in range(config.scenes) if not _mark(root, config, scene).exists()]
    if len(waiting) < config.scenes:
        _LOG.info("%d of %d drives are there", config.scenes - len(waiting), config.scenes)
    _write_scenes(root, config, options.seed, waiting)
    _writer(config).finish(root, config)
    _LOG.info("wrote %d drives to %s", config.scenes, root)


def description(config: SimulateConfig, seed: int) -> dict[str, Any]:
    """What simulation.json says: everything the files depend on, and their conventions."""
    values = dataclasses.asdict(config)
    del values["workers"]
    distortion = (
        "on: column c of a turn is cast at its own instant, points are in the sensor frame of that "
        "instant, uncompensated; truth/ holds point_time_s relative to the sweep time"
        if config.motion_distortion
        else "off: all rays of a sweep are cast at the sweep time"
    )
    return {
        "format_version": FORMAT_VERSION,
        "seed": seed,
        "config": values,
        "motion_distortion": distortion,
        "intensity": "clip(255 rho cos(incidence)^k / (1 + (range / 50 m)^2), 0, 255), rounded",
        "flow": "motion of the surface until the next sweep, sensor motion taken out",
    }


def _claim(root: Path, config: SimulateConfig, seed: int) -> None:
    wanted = json.dumps(description(config, seed), indent=2)
    path = root / "simulation.json"
    if path.is_file():
        if path.read_text() != wanted:
            raise UserError(
                f"{root} holds drives of another configuration or seed (see {path}); choose another"
                " --out or remove the folder"
            )
        return
    written = ("samples", "sweeps", "sequences", "poses", "maps", "splits.json", config.version)
    taken = [
        name for name in (*written, *_writer(config).scene_names(config)) if (root / name).exists()
    ]
    if taken:
        raise UserError(f"{root} already holds {taken[0]}, not simulated; choose another --out")
    atomic_write(path, wanted)


def _writer(config: SimulateConfig) -> ModuleType:
    """The module that writes a format: `scene_names`, `write_scene`, `finish`."""
    match config.format:
        case "nuscenes":
            return nuscenes_writer
        case "kitti":
            return kitti_writer
        case "folder":
            return folder_writer


def _mark(root: Path, config: SimulateConfig, scene: int) -> Path:
    """A file that exists when a drive is complete."""
    name: str = _writer(config).scene_names(config)[scene]
    return root / ".scenes" / f"{name}.done"


def write_scene(root: Path, config: SimulateConfig, seed: int, scene: int) -> None:
    """Simulate and write one drive."""
    drive = build_drive(config, seed, scene)
    taken = sweeps(config, drive, seed, scene)
    name: str = _writer(config).scene_names(config)[scene]
    try:
        _writer(config).write_scene(root, config, drive, taken, scene=scene, on_sweep=_count)
    except OSError as error:
        # numpy hides the system's error.
        reason = error.strerror or f"the disk is full or failing ({error})"
        raise UserError(
            f"cannot write drive {name} in {root}: {reason}; free space and run the same command "
            "again, which keeps the finished drives, or choose another --out"
        ) from None
    atomic_write(_mark(root, config, scene), "")


def _count() -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def _set_counter(counter: Any) -> None:
    global _counter
    _counter = counter


def _write_scenes(root: Path, config: SimulateConfig, seed: int, waiting: list[int]) -> None:
    if not waiting:
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    report = _reporter(counter, len(waiting) * config.num_sweeps)
    # A pool even for one worker: the parent stays free to report.
    with concurrent.futures.ProcessPoolExecutor(
        min(config.workers, len(waiting)), context, _set_counter, (counter,)
    ) as pool:
        pending = {pool.submit(write_scene, root, config, seed, scene) for scene in waiting}
        try:
            while pending:
                done, pending = concurrent.futures.wait(pending, timeout=_REPORT_S)
                for future in done:
                    future.result()
                report()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _reporter(counter: Any, total: int) -> Callable[[], None]:
    begin = time.monotonic()

    def report() -> None:
        written = counter.value
        if written:
            left_s = (time.monotonic() - begin) / written * (total - written)
            _LOG.info("%d of %d sweeps, %.0f s left", written, total, left_s)

    return report
