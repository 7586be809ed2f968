"""Mamba-2 beyond its training length."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from experiment import Claim, Experiment
from models import IdentifierEmbedding, SequenceModel, count_parameters
from streams import recall_stream
from torch import nn
from training import Budget, Draw, Trained, accuracy, generator, train_best

from foretell.blocks import Mamba2
from foretell.study import Cell


@dataclass(frozen=True)
class Settings:
    """What every row depends on."""

    budget: Budget = Budget(2500, 32, (3e-3, 1e-2), 512)
    time: int = 64
    times_longer: tuple[int, ...] = (1, 8, 16)
    num_keys: int = 512
    num_values: int = 16
    dim: int = 32
    state_dim: int = 64
    scales: tuple[tuple[float, float], ...] = ((2.0, 0.5), (4.0, 0.5), (8.0, 0.5))
    """Trials of the first remedy: decay_scale and input_scale."""
    norms: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Trials of the second: max_state_norm as a share of the norm at the training length."""
    windows: tuple[int, ...] = (48, 64, 96)
    """Trials of the third."""


SETTINGS = Settings()


def build(settings: Settings = SETTINGS, **remedy: object) -> SequenceModel:
    """One layer without an MLP: a step holds key and value, so one layer can recall."""
    return SequenceModel(
        IdentifierEmbedding(1 + settings.num_keys + settings.num_values, settings.dim),
        [partial(Mamba2, settings.dim, settings.state_dim, **remedy)],
        dim=settings.dim,
        classes=settings.num_values,
        feedforward_dim=0,
    )


def sequences(settings: Settings, times: int) -> Draw:
    """Training has reads of any age; the tests ask for what half a training length still holds."""
    return partial(
        recall_stream,
        time=times * settings.time,
        num_keys=settings.num_keys,
        num_values=settings.num_values,
        max_age=settings.time // 2,
        scored_last=settings.time,
    )


def run(variant: str, seed: int, smoke: bool, settings: Settings = SETTINGS) -> Mapping[str, Cell]:
    """One row: train plainly, choose the remedy's setting at 8 times the length, test."""
    begun = time.process_time()
    budget = settings.budget.shrunk() if smoke else settings.budget
    training = partial(sequences(settings, 1), max_age=None)
    trained = train_best(partial(build, settings), training, budget, seed)
    validation = sequences(settings, 8)(
        budget.held_out // 4, randomness=generator(seed, "validation")
    )
    trials = []
    for remedy in remedies(variant, trained, training, settings):
        model = build(settings, **remedy)
        model.load_state_dict(trained.model.state_dict())
        trials.append((accuracy(model, validation), remedy, model))
    best, remedy, model = max(trials, key=lambda trial: trial[0])
    scores = {
        f"accuracy_{times}": accuracy(
            model,
            sequences(settings, times)(budget.held_out // 4, randomness=generator(seed, "test")),
        )
        for times in settings.times_longer
    }
    setting = "".join(f", {name} {value:.3g}" for name, value in remedy.items())
    return {
        **scores,
        "validation_accuracy": best,
        "chosen": f"rate {trained.learning_rate:g}{setting}",
        "parameters": count_parameters(model),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def remedies(
    variant: str, trained: Trained, training: Draw, settings: Settings
) -> list[dict[str, float]]:
    """Options of `Mamba2` to try."""
    match variant:
        case "plain":
            return [{}]
        case "decay":
            return [{"decay_scale": a, "input_scale": b} for a, b in settings.scales]
        case "norm":
            norm = state_norm(trained.model, training)
            return [{"max_state_norm": share * norm} for share in settings.norms]
        case _:
            return [{"window": window} for window in settings.windows]


@torch.no_grad()
def state_norm(model: nn.Module, training: Draw) -> float:
    """Mean over sequences of the largest head's norm at the end of the training length."""
    examples = training(64, randomness=torch.Generator().manual_seed(0))
    layer = model.layers[0]
    _, state = layer.mixer(layer.mixer_norm(model.embed(examples.inputs)))
    norms: torch.Tensor = state.ssm.flatten(2).norm(dim=-1)
    return norms.amax(1).mean().item()


EXPERIMENT = Experiment(
    name="mamba2_length",
    title="Mamba-2 beyond its training length, with and without each remedy",
    source="2410.07145v1: a state that was never overfull in training is not taught to forget",
    length=f"T = {SETTINGS.time} in training; T, 8T and 16T in the tests",
    chance=f"{1 / SETTINGS.num_values:.1%}",
    metric="right answers among the reads in the last T steps; all ask for keys written at most "
    "T/2 steps before",
    expected="without a remedy accuracy falls at 8T and 16T; each remedy, applied to the same "
    "weights without training, is above that",
    trials=f"{SETTINGS.budget.told}; then three settings of each remedy (without one there is "
    "nothing to set), chosen on validation sequences of 8T",
    variants=("plain", "decay", "norm", "window"),
    columns={"accuracy_1": "T", "accuracy_8": "8T", "accuracy_16": "16T"},
    claims=(
        Claim("Mamba-2 falls from T to 8T", ("plain", "accuracy_1"), ("plain", "accuracy_8")),
        Claim("Mamba-2 falls from T to 16T", ("plain", "accuracy_1"), ("plain", "accuracy_16")),
        *(
            Claim(
                f"{text} helps at {times}T",
                (remedy, f"accuracy_{times}"),
                ("plain", f"accuracy_{times}"),
            )
            for remedy, text in (
                ("decay", "forgetting more and remembering less"),
                ("norm", "bounding the state's norm"),
                ("window", "a sliding window of the state"),
            )
            for times in (8, 16)
        ),
    ),
    settings=SETTINGS,
    run=run,
    parameters=lambda variant: count_parameters(build()),
)
