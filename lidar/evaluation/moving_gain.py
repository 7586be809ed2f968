"""When a gain on moving points counts.

Blur can win on moving points, therefore all of these must hold against `copy_last` of the same
windows, over runs of the same configuration with different seeds:

- moving: mean `l1_m` on moving rays is lower than copy-last's;
- static and all rays: mean `l1_m` and `l1_median_m` are not higher than copy-last's by more than
  the spread (standard deviation over seeds);
- cloud: mean `nfcd_m2` on all rays is lower than copy-last's.

A model that is worse than copy-last on moving points has learnt no motion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lidar.evaluation.protocols import MEAN


@dataclass(frozen=True)
class Comparison:
    """One metric of a model against copy-last's, over seeds."""

    slice: str
    """Such as `static/l1_m`."""
    model_mean: float
    model_std: float
    """Standard deviation over seeds (n - 1)."""
    copy_last_mean: float
    must_improve: bool
    """Lower than copy-last, or merely not worse beyond the spread."""

    @property
    def holds(self) -> bool:
        """Whether the condition is met."""
        if self.must_improve:
            return self.model_mean < self.copy_last_mean
        return self.model_mean <= self.copy_last_mean + self.model_std


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
    runs: Sequence[Mapping[str, float]], *, who: str = "model", horizon: str = MEAN
) -> MovingGain:
    """Judge a model by the metrics of several seeds.

    Args:
        runs: Flat metrics of `lidar.evaluation.forecast.score`, one per seed.
        who: The judged forecast.
        horizon: A horizon's label, or `mean`.

    Raises:
        ValueError: Fewer than two seeds, or a needed metric is missing.
    """
    if len(runs) < 2:
        raise ValueError(f"the spread over seeds needs at least 2 runs, got {len(runs)}")
    conditions = {
        "moving/l1_m": True,
        "static/l1_m": False,
        "static/l1_median_m": False,
        "all/l1_m": False,
        "all/l1_median_m": False,
        "all/nfcd_m2": True,
    }
    comparisons = []
    for where, must_improve in conditions.items():
        rays, metric = where.split("/")
        model, copy_last = (
            [_value(run, f"forecast/{name}/{rays}/{horizon}/{metric}") for run in runs]
            for name in (who, "copy_last")
        )
        comparisons.append(
            Comparison(
                slice=where,
                model_mean=float(np.mean(model)),
                model_std=float(np.std(model, ddof=1)),
                copy_last_mean=float(np.mean(copy_last)),
                must_improve=must_improve,
            )
        )
    return MovingGain(tuple(comparisons), len(runs))


def _value(run: Mapping[str, float], key: str) -> float:
    if key not in run:
        raise ValueError(
            f"the metrics lack {key}: moving rays need annotated boxes, NFCD needs eval.chamfer"
        )
    return run[key]
