"""LSSL against LSTM on a long dependency."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from experiment import Claim, Experiment
from models import IdentifierEmbedding, SequenceModel, count_parameters, matched_width
from streams import copy_stream
from torch import nn
from training import Budget, train_and_score

from foretell.blocks import LSSL, LSTM
from foretell.study import Cell


@dataclass(frozen=True)
class Settings:
    """What every row depends on."""

    budget: Budget = Budget(1200, 16, (1e-3, 3e-3), 512)
    time: int = 512
    num_symbols: int = 8
    num_copied: int = 8
    dim: int = 32
    state_dim: int = 32
    num_layers: int = 2
    parameters: int = 24_000


SETTINGS = Settings()


def mixer(variant: str, settings: Settings) -> Callable[[], nn.Module]:
    """Makes the block of a layer."""
    dim = settings.dim
    if variant == "lstm":
        return partial(LSTM, dim, dim, forget_bias=1.0)
    return partial(LSSL, dim, settings.state_dim, trainable=variant == "lssl")


def build(variant: str, settings: Settings = SETTINGS) -> SequenceModel:
    """A model of the given size."""

    def sized(width: int) -> SequenceModel:
        return SequenceModel(
            IdentifierEmbedding(2 + settings.num_symbols, settings.dim),
            [mixer(variant, settings)] * settings.num_layers,
            dim=settings.dim,
            classes=settings.num_symbols,
            feedforward_dim=width,
        )

    return sized(matched_width(sized, settings.parameters))


def run(variant: str, seed: int, smoke: bool, settings: Settings = SETTINGS) -> Mapping[str, Cell]:
    """One row."""
    draw = partial(
        copy_stream,
        time=settings.time,
        num_symbols=settings.num_symbols,
        num_copied=settings.num_copied,
    )
    budget = settings.budget.shrunk() if smoke else settings.budget
    return train_and_score(
        partial(build, variant, settings), draw, budget, seed, {"accuracy": draw}
    )


EXPERIMENT = Experiment(
    name="lssl_dependency",
    title="LSSL against LSTM on a long dependency",
    source="2110.13985: state spaces of HiPPO matrices learn dependencies on which LSTM fails",
    length=f"{SETTINGS.time}, in training and in the test: {SETTINGS.num_copied} symbols, blanks, "
    f"and the symbols asked for in the last {SETTINGS.num_copied} steps",
    chance=f"{1 / SETTINGS.num_symbols:.1%}",
    metric="right symbols",
    expected="LSSL and LSSL-fixed (A and dt as they start) are above LSTM, which starts with a "
    "forget bias of 1",
    trials=SETTINGS.budget.told,
    variants=("lstm", "lssl", "lssl_fixed"),
    columns={"accuracy": "accuracy"},
    claims=(
        Claim("LSSL is above LSTM", ("lssl", "accuracy"), ("lstm", "accuracy")),
        Claim("LSSL-fixed is above LSTM", ("lssl_fixed", "accuracy"), ("lstm", "accuracy")),
    ),
    settings=SETTINGS,
    run=run,
    parameters=lambda variant: count_parameters(build(variant)),
)
