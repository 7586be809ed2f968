"""A verb over several seeds: one folder each, and the mean and spread of their numbers."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from foretell.config import RunOptions
from foretell.run import RunDirectory

Metrics = Mapping[str, float | int | None]


def run_seeds(
    function: Callable[[Any, RunOptions], None], config: Any, options: RunOptions
) -> None:
    """Call `function(config, options)` once per seed and summarise their metrics.json.

    With one seed the verb writes into `options.out` itself; with several, seed k writes into
    `out/seed_<k>` and `out/metrics.json` holds the summary.
    """
    if options.seeds == 1:
        function(config, options)
        return
    run = RunDirectory.create("", config, options)
    runs = []
    for one in options.each_seed():
        function(config, one)
        runs.append(RunDirectory(one.out))
    if all(done.metrics.is_file() for done in runs):
        run.write_metrics(summarise([done.read_metrics() for done in runs]))


def summarise(runs: Sequence[Metrics]) -> dict[str, float | int | None]:
    """Mean and sample standard deviation over runs of every number that all of them have.

    `test/<...>/mean` becomes the mean of the means, with its /std over the runs and /n their
    number; any other name keeps its mean and gains `<name>_std`.

    Example:
        >>> summarise([{"val/a/l1_m": 1.0}, {"val/a/l1_m": 3.0}])
        {'val/a/l1_m': 2.0, 'val/a/l1_m_std': 1.4142135623730951}
    """
    summary: dict[str, float | int | None] = {}
    for name in runs[0]:
        is_test = name.startswith("test/")
        if not all(name in run for run in runs) or (is_test and not name.endswith("/mean")):
            continue
        values = [value for run in runs if (value := run[name]) is not None]
        known = len(values) == len(runs)
        mean, spread = mean_and_std(values) if known else (None, None)
        stem = name.removesuffix("/mean")
        summary[name] = mean
        summary[f"{stem}/std" if is_test else f"{name}_std"] = spread
        if is_test:
            summary[f"{stem}/n"] = len(runs)
    return summary


def mean_and_std(values: Sequence[float | int]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; of one value no deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return math.fsum(values) / len(values), spread
