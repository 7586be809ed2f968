"""Prefix linear attention."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from experiment import Claim, Experiment
from jaxtyping import Float
from models import IdentifierEmbedding, SequenceModel, count_parameters, matched_width
from streams import question_stream
from torch import Tensor, nn
from training import Budget, train_and_score

from foretell.blocks import PrefixLinearAttention
from foretell.study import Cell


@dataclass(frozen=True)
class Settings:
    """What every row depends on."""

    budget: Budget = Budget(3000, 128, (3e-3, 1e-2), 1024)
    num_pairs: int = 40
    num_questions: int = 2
    fewest: int = 4
    num_keys: int = 48
    num_values: int = 8
    dim: int = 32
    feature_dim: int = 4
    num_heads: int = 1
    num_layers: int = 2
    parameters: int = 20_000


SETTINGS = Settings()


class Reader(nn.Module):
    """The block on sequences of which all but the answers are the prefix, or none is.

    Keys start as the queries are, in both forms: like finds like from the first step on.
    """

    def __init__(self, settings: Settings, *, prefix: bool) -> None:
        super().__init__()
        self.prefix, self.num_answers = prefix, settings.num_questions
        self.block = PrefixLinearAttention(
            settings.dim, settings.num_heads, feature_dim=settings.feature_dim
        )
        for key in (self.block.key, self.block.encoder_key):
            key.weight.data.copy_(self.block.query.weight)
        for encoder in (self.block.encoder_key, self.block.encoder_value):
            encoder.requires_grad_(prefix)

    def forward(
        self, x: Float[Tensor, "batch time dim"]
    ) -> tuple[Float[Tensor, "batch time dim"], object]:
        """All steps; outputs inside the prefix see all of it, as the next layer may."""
        if not self.prefix:
            return self.block(x)
        return self.block(x, prefix_len=x.shape[1] - self.num_answers, prefix_output="return")


def build(variant: str, settings: Settings = SETTINGS) -> SequenceModel:
    """A model of the given size."""
    prefix = variant.startswith("prefix")
    identifiers = 1 + settings.num_keys + settings.num_values + settings.num_questions + 1

    def sized(width: int) -> SequenceModel:
        return SequenceModel(
            IdentifierEmbedding(identifiers, settings.dim),
            [partial(Reader, settings, prefix=prefix)] * settings.num_layers,
            dim=settings.dim,
            classes=settings.num_values,
            feedforward_dim=width,
        )

    return sized(matched_width(sized, settings.parameters))


def run(variant: str, seed: int, smoke: bool, settings: Settings = SETTINGS) -> Mapping[str, Cell]:
    """One row."""
    draw = partial(
        question_stream,
        num_pairs=settings.num_pairs,
        num_keys=settings.num_keys,
        num_values=settings.num_values,
        num_questions=settings.num_questions,
        questions_first=variant.endswith("first"),
    )
    return train_and_score(
        partial(build, variant, settings),
        partial(draw, fewest=settings.fewest),
        settings.budget.shrunk() if smoke else settings.budget,
        seed,
        {"accuracy": draw},
        validation=draw,
    )


EXPERIMENT = Experiment(
    name="prefix_recall",
    title="Prefix linear attention on recall with the informative part first and last",
    source="2407.05483: causal linear attention depends on the order of what it reads, reading the "
    "prefix as a whole does not",
    length=f"{SETTINGS.num_pairs + 2 * SETTINGS.num_questions}: {SETTINGS.num_pairs} pairs of key "
    f"and value, {SETTINGS.num_questions} questions (key and rank) before or after them, as many "
    f"steps that answer; in training {SETTINGS.fewest} to {SETTINGS.num_pairs} pairs",
    chance=f"{1 / SETTINGS.num_values:.1%}",
    metric="right values",
    expected="with the question last the prefix form is above the causal form, which falls behind "
    "its own result with the question first; the prefix form is equal in both orders",
    trials=SETTINGS.budget.told,
    variants=("causal_first", "causal_last", "prefix_first", "prefix_last"),
    columns={"accuracy": "accuracy"},
    claims=(
        Claim(
            "with the question last, the prefix form is above the causal form",
            ("prefix_last", "accuracy"),
            ("causal_last", "accuracy"),
        ),
        Claim(
            "the causal form is better with the question first",
            ("causal_first", "accuracy"),
            ("causal_last", "accuracy"),
        ),
        Claim(
            "the prefix form is equal in both orders",
            ("prefix_first", "accuracy"),
            ("prefix_last", "accuracy"),
            "equal",
        ),
    ),
    settings=SETTINGS,
    run=run,
    parameters=lambda variant: count_parameters(build(variant)),
)
