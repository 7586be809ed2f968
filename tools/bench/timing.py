"""What the benchmarks share: turns, medians with spread, peak memory and the line of versions.

Times are CPU seconds of the process (`time.process_time`): on a shared machine they leave out what
other processes took. Wall time stands beside them.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

MIB = 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class Seconds:
    """One timed run."""

    cpu: float
    wall: float

    def __add__(self, other: "Seconds") -> "Seconds":
        """Both, one after the other."""
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)

    def __truediv__(self, count: int) -> "Seconds":
        """Each of `count` equal parts."""
        return Seconds(self.cpu / count, self.wall / count)


@dataclass
class Memory:
    """Resident set around a piece of work."""

    before_mib: float
    peak_mib: float = 0.0

    @property
    def growth_mib(self) -> float:
        """Peak above the start."""
        return self.peak_mib - self.before_mib


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Seconds:
        """CPU and wall seconds so far."""
        return Seconds(time.process_time() - self._cpu, time.perf_counter() - self._wall)


def timed(run: Callable[[], Any]) -> Seconds:
    """Seconds of one call."""
    watch = Stopwatch()
    result = run()
    seconds = watch.read()
    del result  # freed outside the timed stretch
    return seconds


def take_turns(
    steps: Mapping[str, Callable[[], T]], repeats: int, *, warm_up: int = 1
) -> dict[str, list[T]]:
    """Run every step once a turn, so that a busy stretch of the machine hits all alike.

    The order of a turn is drawn: a step that always came after the one with the largest memory
    would find cold caches every time.

    Args:
        steps: Each runs once and says how long that took.
        repeats: Turns kept.
        warm_up: Turns before them.
    """
    taken: dict[str, list[T]] = {name: [] for name in steps}
    order, drawing = list(steps), random.Random(0)
    for turn in range(warm_up + repeats):
        drawing.shuffle(order)
        for name in order:
            seconds = steps[name]()
            if turn >= warm_up:
                taken[name].append(seconds)
    return taken


def spread(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def show(values: list[float], *, scale: float = 1.0, digits: int = 3) -> str:
    """`median [first quartile, third quartile]`."""
    low, middle, high = (f"{value * scale:.{digits}f}" for value in spread(values))
    return f"{middle} [{low}, {high}]"


def print_turns(label: str, taken: Mapping[str, list[Seconds]]) -> dict[str, float]:
    """Print a row of CPU ms and return the median of peer / ours for each peer.

    Args:
        label: Start of the row.
        taken: From `take_turns`, with ours under `ours`.
    """
    cells, medians = [], {}
    ours = [seconds.cpu for seconds in taken["ours"]]
    for name, runs in taken.items():
        cpu = [seconds.cpu for seconds in runs]
        cells.append(f"{name} {show(cpu, scale=1e3, digits=2)}")
        if name != "ours":
            ratios = [peer / own for peer, own in zip(cpu, ours, strict=True)]
            cells[-1] += f" ratio {show(ratios, digits=2)}"
            medians[name] = statistics.median(ratios)
    print(f"  {label:15s} " + " | ".join(cells), flush=True)
    return medians


def print_ratio(
    name: str, peer: str, taken: Mapping[str, list[Seconds]], *, aim: float | None = None
) -> float:
    """Print one row, CPU and wall, and return the median of peer / ours over the turns.

    Args:
        name: The row.
        peer: Key of the peer in `taken`; ours is under `ours`.
        taken: From `take_turns`.
        aim: The ratio that should be reached.
    """
    clocks: tuple[tuple[str, Callable[[Seconds], float]], ...] = (
        ("cpu", lambda s: s.cpu),
        ("wall", lambda s: s.wall),
    )
    medians = []
    for clock, of in clocks:
        theirs, ours = [of(s) for s in taken[peer]], [of(s) for s in taken["ours"]]
        ratios = [slow / quick for slow, quick in zip(theirs, ours, strict=True)]
        medians.append(statistics.median(ratios))
        print(
            f"{name}, {clock}: {peer} {show(theirs, scale=1e3, digits=2)} ms  ours "
            f"{show(ours, scale=1e3, digits=2)} ms  ratio {show(ratios, digits=2)}"
            + (verdict(medians[-1], aim) if clock == "cpu" else ""),
            flush=True,
        )
    return medians[0]


def held(apart: float, most: float) -> str:
    """How far peer and ours are apart, to be printed.

    Raises:
        AssertionError: By more than rounding can do.
    """
    if not apart <= most:
        raise AssertionError(f"peer and ours differ by {apart:.1e}")
    return f"{apart:.1e}"


def verdict(ratio: float, aim: float | None) -> str:
    """Whether a ratio reaches its aim."""
    if aim is None:
        return ""
    return f"  aim {aim:g}: {'met' if ratio >= aim else 'missed'}"


def versions(*packages: str) -> str:
    """Processor, Python and packages with their versions: ratios depend on all of them."""
    import torch  # after one_thread()

    listed = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} with {capability}, Python {platform.python_version()}, {listed}"


def print_versions(*packages: str, threads: int = 1) -> None:
    """The line above every table."""
    print(
        f"{threads} thread(s) of {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, {versions(*packages)}",
        flush=True,
    )


def one_thread() -> None:
    """Keep numerical libraries to one thread; call before they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder as `--child` and return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, script, "--child", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help starts with the first line of the module's docstring."""
    return argparse.ArgumentParser(description=description.splitlines()[0])


def resident_mib() -> float:
    """Resident set of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


@contextlib.contextmanager
def peak_memory(interval_s: float = 0.002) -> Iterator[Memory]:
    """Watch the resident set of this process while the block runs."""
    memory = Memory(before_mib=resident_mib())
    memory.peak_mib = memory.before_mib
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval_s):
            memory.peak_mib = max(memory.peak_mib, resident_mib())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()
        memory.peak_mib = max(memory.peak_mib, resident_mib())
