"""Equal training for every model of a reproduction: the same steps, batches and learning rates."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Int
from models import count_parameters
from torch import Tensor, nn
from torch.nn import functional

from foretell.study import Cell

UNSCORED = -100
"""Target of a step that is not scored, as torch's cross-entropy ignores it."""
PARTS = ("train", "validation", "test")


class Examples(NamedTuple):
    """Sequences and what a model should answer at some of their steps."""

    inputs: Tensor
    """[batch, time, fields] identifiers or [batch, time, channels] real numbers."""
    targets: Int[Tensor, "batch time"]
    """Class, or `UNSCORED`."""


Draw = Callable[..., Examples]
"""(rows, randomness=generator) -> fresh sequences."""


@dataclass(frozen=True)
class Budget:
    """What every model of an experiment gets."""

    steps: int
    """Optimiser steps of a trial."""
    batch: int
    """Sequences a step."""
    learning_rates: tuple[float, ...]
    """One trial each; the best on validation is tested."""
    held_out: int
    """Sequences of validation, and of each test."""

    @property
    def told(self) -> str:
        """A sentence."""
        rates = " and ".join(f"{rate:g}" for rate in self.learning_rates)
        trials = (
            "one trial: learning rate"
            if len(self.learning_rates) == 1
            else ("trials: learning rates")
        )
        return (
            f"{self.steps} steps of {self.batch} fresh sequences with Adam; {trials} {rates}; "
            f"{self.held_out} sequences in validation and in each test"
        )

    def shrunk(self) -> "Budget":
        """A few steps, to see that everything runs."""
        rates = self.learning_rates[:1]
        return replace(self, steps=2, batch=2, learning_rates=rates, held_out=4)


@dataclass(frozen=True)
class Trained:
    """The trial that validation chose."""

    model: nn.Module
    learning_rate: float
    validation_accuracy: float


def generator(seed: int, part: str) -> torch.Generator:
    """Randomness of a part of the data: the parts of all seeds differ, all models share them."""
    return torch.Generator().manual_seed(len(PARTS) * seed + PARTS.index(part))


def train_best(
    build: Callable[[], nn.Module],
    draw: Draw,
    budget: Budget,
    seed: int,
    *,
    validation: Draw | None = None,
) -> Trained:
    """Train once with each learning rate, from the same start on the same data."""
    held_out = (validation or draw)(budget.held_out, randomness=generator(seed, "validation"))
    trials = []
    for rate in budget.learning_rates:
        torch.manual_seed(seed)
        model = build()
        train(model, draw, budget, rate, generator(seed, "train"))
        trials.append(Trained(model, rate, accuracy(model, held_out)))
    return max(trials, key=lambda trial: trial.validation_accuracy)


def train(
    model: nn.Module, draw: Draw, budget: Budget, rate: float, randomness: torch.Generator
) -> None:
    """Adam, gradients clipped at norm 1, a tenth of warm-up, then a cosine to a twentieth."""
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: pace(n / budget.steps))
    model.train()
    for step in range(budget.steps):
        if step % DRAWN_STEPS == 0:  # a loop over time that serves many steps
            drawn = draw(DRAWN_STEPS * budget.batch, randomness=randomness)
        rows = slice(step % DRAWN_STEPS * budget.batch, (step % DRAWN_STEPS + 1) * budget.batch)
        inputs, targets = drawn.inputs[rows], drawn.targets[rows]
        scored = targets != UNSCORED
        loss = functional.cross_entropy(model(inputs, scored), targets[scored])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
    model.eval()


DRAWN_STEPS = 32


def pace(progress: float) -> float:
    """Share of the learning rate after a share of the steps."""
    if progress < 0.1:
        return 0.1 + 9 * progress
    return 0.05 + 0.95 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


@torch.no_grad()
def accuracy(model: nn.Module, examples: Examples, *, batch: int = 64) -> float:
    """Share of the scored steps whose most likely class is right."""
    model.eval()
    right = total = 0
    for inputs, targets in zip(*(part.split(batch) for part in examples), strict=True):
        scored = targets != UNSCORED
        right += int((model(inputs, scored).argmax(-1) == targets[scored]).sum())
        total += int(scored.sum())
    return right / total


def train_and_score(
    build: Callable[[], nn.Module],
    draw: Draw,
    budget: Budget,
    seed: int,
    tests: Mapping[str, Draw],
    *,
    validation: Draw | None = None,
) -> dict[str, Cell]:
    """Train, choose on validation and score every test once.

    Args:
        build: A new model.
        draw: Sequences of training.
        budget: What every model gets.
        seed: Of the data and of the model.
        tests: Sequences of each test, by the column of its accuracy.
        validation: Sequences that choose the trial; none = as in training.
    """
    begun = time.process_time()
    chosen = train_best(build, draw, budget, seed, validation=validation)
    scores = {
        name: accuracy(chosen.model, test(budget.held_out, randomness=generator(seed, "test")))
        for name, test in tests.items()
    }
    return {
        **scores,
        "validation_accuracy": chosen.validation_accuracy,
        "chosen": f"rate {chosen.learning_rate:g}",
        "parameters": count_parameters(chosen.model),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
