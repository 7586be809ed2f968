"""Stages of a step, beside what released code itself took."""

import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import timing

Run = dict[str, timing.Seconds]
"""Times of the stages of a sample, by name."""
OFF = 0.3
"""A share that differs from the released code's by more than this part of it is marked."""
HEADER = "| stage | peer s | share | released s | share | apart |"


@dataclass
class Stages:
    """Times of the stages of one run."""

    run: Run = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage."""
        watch = timing.Stopwatch()
        yield
        self.run[name] = watch.read()


def total(runs: Iterable[Run]) -> timing.Seconds:
    """All stages of all runs."""
    seconds = timing.Seconds(0.0, 0.0)
    for run in runs:
        for stage in run.values():
            seconds = seconds + stage
    return seconds


def shares(seconds: dict[str, float], released: tuple[float, ...]) -> list[str]:
    """Rows `stage | s | share | released s | share`, shares that are far apart marked."""
    total, rows = sum(seconds.values()), []
    for (name, value), theirs in zip(seconds.items(), released, strict=True):
        share, official = value / total, theirs / sum(released)
        apart = share / official - 1
        mark = f"{apart:+.0%}" if abs(apart) > OFF else ""
        rows.append(
            f"| {name} | {value:.3f} | {share:.0%} | {theirs:.3f} | {official:.0%} | {mark} |"
        )
    rows.append(f"| together | {total:.3f} | | {sum(released):.3f} | | |")
    return rows


def mean_of(runs: list[Run]) -> dict[str, float]:
    """Mean CPU seconds of every stage."""
    return {name: statistics.fmean(run[name].cpu for run in runs) for name in runs[0]}


def median_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """Median of every stage."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}
