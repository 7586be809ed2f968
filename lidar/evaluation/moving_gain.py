"""When a gain on moving points counts.

Blur can win on moving points, therefore all of these must hold against a rival on the same windows,
over runs of one configuration with different seeds. With d = ours - rival's and s the sample
standard deviation of d over the seeds:

- moving rays: `l1_m` and `nfcd_m2` are lower, outside the spread: mean d < -s; so is `nfcd_m2` of
  all rays;
- static and all rays: `l1_m` and `l1_median_m` are not worse beyond the spread: mean d <= s.

The rival is copy-last, or another model such as one trained on the current frame alone. Copy-last's
variant is chosen on training windows without labels, thus on all rays; on moving rays another one
may be better. As rival it stands for the variant with the lowest mean in each comparison. A model
that is worse than copy-last on moving points has learnt no motion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONDITIONS = {
    "moving/l1_m": True,
    "moving/nfcd_m2": True,
    "all/nfcd_m2": True,
    "static/l1_m": False,
    "static/l1_median_m": False,
    "all/l1_m": False,
    "all/l1_median_m": False,
}
"""<rays>/<metric> -> whether it must be better, or merely not worse."""


@dataclass(frozen=True)
class Comparison:
    """One metric against the rival's, paired by seed."""

    slice: str
    """Such as `static/l1_m`."""
    ours: float
    """Mean over seeds."""
    rival: float
    """Mean over seeds."""
    spread: float
    """Sample standard deviation of the difference over seeds."""
    must_improve: bool
    """Better outside the spread, or merely not worse beyond it."""

    @property
    def holds(self) -> bool:
        """Whether the condition is met."""
        difference = self.ours - self.rival
        return difference < -self.spread if self.must_improve else difference <= self.spread


@dataclass(frozen=True)
class MovingGain:
    """The verdict and what it rests on."""

    comparisons: tuple[Comparison, ...]
    num_seeds: int

    @property
    def counts(self) -> bool:
        """Whether every condition holds."""
        return all(comparison.holds for comparison in self.comparisons)


def moving_gain(
    runs: Sequence[Mapping[str, float]],
    rival_runs: Sequence[Mapping[str, float]],
    *,
    horizon: str,
    who: str = "model",
    rival: str = "copy_last",
) -> MovingGain:
    """Judge a model by the metrics of several seeds.

    Args:
        runs: Flat metrics of `lidar.evaluation.forecast.score`, one per seed.
        rival_runs: Those in which the rival is found, in the same order of seeds; the same runs
            when the rival is a baseline.
        horizon: A horizon's label, or `mean`.
        who: The judged forecast.
        rival: What it is judged against, in `rival_runs`; `copy_last` = the best of its variants.

    Raises:
        ValueError: Fewer than two seeds, unequal numbers, or a needed metric is missing.
    """
    if len(runs) < 2 or len(runs) != len(rival_runs):
        raise ValueError(
            "the spread over seeds needs at least 2 runs on either side, as many on both, "
            f"got {len(runs)} and {len(rival_runs)}"
        )
    comparisons = []
    for where, must_improve in CONDITIONS.items():
        rays, metric = where.split("/")
        ours = _values(runs, f"forecast/{who}/{rays}/{horizon}/{metric}")
        theirs = min(
            (
                _values(rival_runs, f"forecast/{name}/{rays}/{horizon}/{metric}")
                for name in _rivals(rival_runs[0], rival)
            ),
            key=np.mean,
        )
        difference = [a - b for a, b in zip(ours, theirs, strict=True)]
        comparisons.append(
            Comparison(
                slice=where,
                ours=float(np.mean(ours)),
                rival=float(np.mean(theirs)),
                spread=float(np.std(difference, ddof=1)),
                must_improve=must_improve,
            )
        )
    return MovingGain(tuple(comparisons), len(runs))


def _rivals(run: Mapping[str, float], rival: str) -> list[str]:
    """The rival itself and, for copy-last, all its variants."""
    if rival != "copy_last":
        return [rival]
    names = dict.fromkeys(key.split("/")[1] for key in run)
    return [name for name in names if name.startswith("copy_last")] or [rival]


def _values(runs: Sequence[Mapping[str, float]], key: str) -> list[float]:
    if any(key not in run for run in runs):
        raise ValueError(
            f"the metrics lack {key}: moving rays need annotated boxes, NFCD needs eval.chamfer"
        )
    return [run[key] for run in runs]
