"""What an experiment states before it runs, and how a claim is judged afterwards."""

import hashlib
import importlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from foretell.study import Cell

NAMES = (
    "reber_pruning",
    "reber_graphs",
    "mamba2_length",
    "lssl_dependency",
    "aaren_parity",
    "titans_recall",
    "prefix_recall",
)
"""Modules beside this one, each with an `EXPERIMENT`."""
SEEDS = (0, 1, 2)
HARD = 0.7
"""The weaker side of a claim that holds must stay below this, else the task was too easy."""
MARGIN = 0.02
"""Accuracies so close count as equal even where the spread is smaller."""
RESOLUTION = 0.05
"""With more spread than this no equality is told."""
TRAINING_COLUMNS = ("validation_accuracy", "chosen", "parameters", "cpu_seconds")
"""What every row tells besides its accuracies."""


@dataclass(frozen=True)
class Claim:
    """A sentence on two columns of accuracies, each a (variant, column)."""

    text: str
    one: tuple[str, str]
    other: tuple[str, str]
    kind: Literal["above", "equal"] = "above"
    """One lies above the other; or they are equal."""


@dataclass(frozen=True)
class Experiment:
    """One task, its models and what is expected of them."""

    name: str
    title: str
    source: str
    """Paper whose claim it is."""
    length: str
    """Steps of a sequence, in training and in the tests."""
    chance: str
    """Accuracy of guessing."""
    metric: str
    expected: str
    """Direction, stated before any row ran."""
    trials: str
    """How the models were trained and chosen, the same for all."""
    variants: tuple[str, ...]
    columns: Mapping[str, str]
    """Accuracies of a row: column of the CSV and of the table."""
    claims: tuple[Claim, ...]
    settings: object
    """What a row depends on, a frozen dataclass; a change makes finished rows invalid."""
    run: Callable[[str, int, bool], Mapping[str, Cell]]
    """(variant, seed, smoke) -> the columns and those of training."""
    parameters: Callable[[str], int]
    """Learned numbers of a variant."""
    earlier: str = ""
    """What other settings gave, and where their rows are."""

    @property
    def fingerprint(self) -> str:
        """Of the settings."""
        return hashlib.sha256(repr(self.settings).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Verdict:
    """A claim against the rows, paired by seed."""

    one: float
    other: float
    spread: float
    """Sample standard deviation of the difference over the seeds."""
    answer: Literal["reproduced", "not reproduced", "too easy to tell", "undecided"]


def judge(claim: Claim, rows: Sequence[Mapping[str, str]]) -> Verdict | None:
    """Compare the two sides seed by seed; none without all seeds of both.

    A difference inside the spread is no difference. "Above" asks for more than the spread; "equal"
    for a difference inside the spread or `MARGIN`, and for a spread of at most `RESOLUTION`, else
    it is undecided. Both ask for a weaker side below `HARD`: near the top all models are equal.
    """
    sides = [
        {row["seed"]: float(row[column]) for row in rows if row["variant"] == variant}
        for variant, column in (claim.one, claim.other)
    ]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if len(seeds) < len(SEEDS):
        return None
    one, other = (statistics.mean(side[seed] for seed in seeds) for side in sides)
    spread = statistics.stdev(sides[0][seed] - sides[1][seed] for seed in seeds)
    if claim.kind == "equal":
        holds = abs(one - other) <= max(spread, MARGIN)
        if holds and spread > RESOLUTION:
            return Verdict(one, other, spread, "undecided")
    else:
        holds = one - other > spread
    if holds and min(one, other) >= HARD:
        return Verdict(one, other, spread, "too easy to tell")
    return Verdict(one, other, spread, "reproduced" if holds else "not reproduced")


def load(name: str) -> Experiment:
    """The experiment of a module; importing it imports torch."""
    experiment: Experiment = importlib.import_module(name).EXPERIMENT
    return experiment


def run_row(name: str, variant: str, seed: int, smoke: bool) -> Mapping[str, Cell]:
    """One row, in a process that may know nothing yet."""
    return load(name).run(variant, seed, smoke)
