"""Pruned recurrent networks on the Reber grammar."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from experiment import Claim, Experiment
from models import count_parameters
from reber_words import (
    Split,
    WordClassifier,
    split_words,
    train_best_words,
    train_words,
    word_accuracy,
)
from torch import nn

from foretell.blocks import GRU, LSTM, RNN, ReluRNN
from foretell.blocks.pruning import apply_masks, magnitude_masks
from foretell.study import Cell

NETWORKS = {"tanh": RNN, "relu": ReluRNN, "gru": GRU, "lstm": LSTM}


@dataclass(frozen=True)
class Settings:
    """What every row depends on."""

    percents: tuple[int, ...] = (60, 70, 80, 90)
    epochs: int = 10
    retraining_epochs: int = 1
    batch: int = 64
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    num_words: int = 25_000
    held_out: int = 3_125
    dim: int = 50
    num_layers: int = 3


SETTINGS = Settings()
SMOKE = Settings(epochs=1, batch=32, learning_rates=(3e-3,), num_words=160, held_out=32)


def build(variant: str, settings: Settings = SETTINGS) -> WordClassifier:
    """Three layers of 50, as in the thesis."""
    network = NETWORKS[variant](settings.dim, settings.dim, num_layers=settings.num_layers)
    return WordClassifier(network, settings.dim)


def run(variant: str, seed: int, smoke: bool, settings: Settings = SETTINGS) -> Mapping[str, Cell]:
    """One row: train densely, then prune and retrain from the dense weights for every percent."""
    begun = time.process_time()
    settings = SMOKE if smoke else settings
    words = split_words(seed, num_words=settings.num_words, held_out=settings.held_out)
    dense, rate, validation = train_best_words(
        partial(build, variant, settings), words, epochs=settings.epochs, batch=settings.batch,
        rates=settings.learning_rates, seed=seed,
    )  # fmt: skip
    found: dict[str, Cell] = score("dense", dense, words)
    for percent in settings.percents:
        pruned = copy.deepcopy(dense)
        apply_masks(pruned, magnitude_masks(pruned, percent))
        found |= score(f"pruned_{percent}", pruned, words)
        retrain(pruned, words, rate, seed, settings)
        found |= score(f"retrained_{percent}", pruned, words)
    cut = copy.deepcopy(dense)
    hidden = magnitude_masks(cut, 100, which="hh")
    apply_masks(cut, {name: torch.zeros_like(mask) for name, mask in hidden.items()})
    retrain(cut, words, rate, seed, settings)
    found |= score("retrained_no_hidden", cut, words)
    return {
        **found,
        "validation_accuracy": validation,
        "chosen": f"rate {rate:g}",
        "parameters": count_parameters(dense),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def retrain(model: nn.Module, words: Split, rate: float, seed: int, settings: Settings) -> None:
    """A fresh Adam under the masks."""
    train_words(
        model, words.train, epochs=settings.retraining_epochs, batch=settings.batch, rate=rate,
        seed=seed,
    )  # fmt: skip


def score(name: str, model: nn.Module, words: Split) -> dict[str, Cell]:
    """Accuracy of the test, all words and near misses."""
    everything, near_misses = word_accuracy(model, words.test)
    return {name: everything, f"{name}_near": near_misses}


def _columns() -> dict[str, str]:
    names = {"dense": "dense"}
    for percent in SETTINGS.percents:
        names |= {f"pruned_{percent}": f"{percent} %", f"retrained_{percent}": f"{percent} % again"}
    names["retrained_no_hidden"] = "no hidden weights"
    near = {f"{name}_near": f"{head}, near" for name, head in names.items()}
    return names | near


def _claims() -> tuple[Claim, ...]:
    found = []
    for network in NETWORKS:
        dense = (network, "dense")
        pruned, retrained = (network, "pruned_90"), (network, "retrained_90")
        found += [
            Claim(f"{network} loses nothing at 60 %", (network, "pruned_60"), dense, "equal"),
            Claim(f"{network} falls at 90 %", dense, pruned),
            Claim(f"an epoch of retraining lifts {network} at 90 %", retrained, pruned),
            Claim(f"retrained at 90 %, {network} equals dense", retrained, dense, "equal"),
        ]
    bare = "retrained_no_hidden_near"
    for gated in ("gru", "lstm"):
        for plain in ("tanh", "relu"):
            text = f"without hidden-to-hidden weights {gated} is above {plain} on near misses"
            found.append(Claim(text, (gated, bare), (plain, bare)))
    return tuple(found)


EXPERIMENT = Experiment(
    name="reber_pruning",
    title="Pruned recurrent networks on the Reber grammar",
    source="2407.20601 and its thesis: most weights can go, and an epoch of retraining brings back "
    "what pruning took",
    length="words of 11 to 53 letters, valid or not, of equal lengths",
    chance="50 %, of both metrics",
    metric='right answers over all words; "near": mean of the shares right among valid words '
    "and among near misses, which are one letter away from one (12 % of the invalid words)",
    expected="equal to dense with 60 % of the weights pruned by magnitude; at 90 % far below; "
    "after an epoch of retraining equal to dense again; without any hidden-to-hidden weight the "
    "gated networks still work and the plain ones do not",
    trials=f"{SETTINGS.epochs} dense epochs of {SETTINGS.num_words - 2 * SETTINGS.held_out:,} "
    f"words (thesis: 50) in batches of {SETTINGS.batch} (32), Adam; trials: learning rates "
    f"{' and '.join(f'{rate:g}' for rate in SETTINGS.learning_rates)} (1e-3); for each percentage "
    f"from the dense weights: prune, test, retrain for {SETTINGS.retraining_epochs} epoch "
    f"(10), test; {SETTINGS.held_out:,} words in validation and in the test",
    variants=tuple(NETWORKS),
    columns=_columns(),
    claims=_claims(),
    settings=SETTINGS,
    run=run,
    parameters=lambda variant: count_parameters(build(variant)),
)
