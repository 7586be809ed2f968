"""What a protocol returns: values per step, how ties and gaps were treated, flat names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graphs.evaluation.ranks import Ties

LinkProtocol = Literal["fixed", "fixed_online", "live", "sampled"]


@dataclass(frozen=True)
class LinkResult:
    """Link metrics of one predictor under one protocol. MRRs of two protocols never compare.

    Raises:
        ValueError: No step was scored, or a metric's values are not one finite number a step.
    """

    protocol: LinkProtocol
    ties: Ties
    """Rule for tied ranks."""
    steps: tuple[int, ...]
    """Scored steps: those whose pairs were forecast."""
    values: Mapping[str, tuple[float, ...]]
    """`ap`, `mrr`, `mrr_one_vs_many` -> value of each scored step."""
    n_skipped: int
    """Steps without a positive."""
    num_pairs: int
    """Scored pairs, all steps together."""
    num_positives: int
    """Positives among them."""
    seed: int
    """Of negatives and splits; `fixed` draws nothing else."""
    negatives: str = "none"
    """What positives are ranked against where it is not all targets, such as `100 uniform`."""
    filtered: bool = False
    """A source's other positives were left out of the ranking."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(
                f"{self.protocol}: none of the {self.n_skipped} steps has a positive pair to score"
            )
        for name, values in self.values.items():
            if len(values) != len(self.steps) or not np.isfinite(values).all():
                raise ValueError(f"{name} must be one finite number a step, got {values}")

    @property
    def n_steps(self) -> int:
        """Scored steps."""
        return len(self.steps)

    @property
    def means(self) -> dict[str, float]:
        """`map`, `mrr`, `mrr_one_vs_many`: means over the scored steps; higher is better."""
        names = {"ap": "map"}
        return {
            names.get(name, name): float(np.mean(values)) for name, values in self.values.items()
        }

    def flat(self, part: str, who: str) -> dict[str, float]:
        """`<part>/<protocol>/<who>/<metric>` for metrics.json.

        Example:
            >>> LinkResult("fixed", "mean", (5,), {"ap": (0.5,)}, 0, 9, 2, seed=1).flat("val", "a")
            {'val/fixed/a/map': 0.5, 'val/fixed/a/n_steps': 1.0, 'val/fixed/a/n_skipped': 0.0}
        """
        stem = f"{part}/{self.protocol}/{who}"
        counts = {"n_steps": float(self.n_steps), "n_skipped": float(self.n_skipped)}
        return {f"{stem}/{name}": value for name, value in (self.means | counts).items()}
