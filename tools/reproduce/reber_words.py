"""Reber words as examples, a word classifier, and its accuracies with near misses apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from training import pace

from foretell.blocks.reber import NUM_SYMBOLS, ReberWords, encode_words, reber_words


@dataclass(frozen=True)
class Words:
    """Words of one part of the data."""

    codes: Int[Tensor, "words time"]
    lengths: Int[Tensor, " words"]
    labels: Int[Tensor, " words"]
    near_miss: Bool[Tensor, " words"]

    def __getitem__(self, rows: Tensor | slice) -> "Words":
        return Words(self.codes[rows], self.lengths[rows], self.labels[rows], self.near_miss[rows])


@dataclass(frozen=True)
class Split:
    """Parts of the data of a seed."""

    train: Words
    validation: Words
    test: Words


def split_words(seed: int, *, num_words: int, held_out: int, **options: float) -> Split:
    """Valid and invalid words in equal number, by default with the published shares of kinds.

    Args:
        seed: Of the words.
        num_words: All told.
        held_out: Of these, in validation and in the test.
        options: Of `reber_words`.
    """
    drawn = encoded(reber_words(num_words // 2, num_words // 2, seed=seed, **options))
    return Split(drawn[2 * held_out :], drawn[:held_out], drawn[held_out : 2 * held_out])


def encoded(words: ReberWords) -> Words:
    """Codes, labels and which words are near misses."""
    codes, lengths = encode_words(words.words)
    near = torch.tensor([kind == "near_miss" for kind in words.kinds])
    return Words(codes, lengths, words.labels, near)


class WordClassifier(nn.Module):
    """Embedding of the letters, a recurrent network, two classes from its last valid step.

    Args:
        network: Causal, takes vectors of width dim.
        dim: Width of the embedding.
        pad_as_symbol: Read the last step of the padded word, as the thesis does: padding is a
            letter too, and the answer depends on the longest word of the batch.
    """

    def __init__(self, network: nn.Module, dim: int, *, pad_as_symbol: bool = False) -> None:
        super().__init__()
        self.pad_as_symbol = pad_as_symbol
        self.embed, self.network = nn.Embedding(NUM_SYMBOLS, dim), network
        self.head = nn.Linear(network.output_dim, 2)

    def forward(
        self, codes: Int[Tensor, "words time"], lengths: Int[Tensor, " words"]
    ) -> Float[Tensor, "words 2"]:
        """Logits. The network is causal: what follows a word does not reach its last step."""
        y, _ = self.network(self.embed(codes))
        last = y[:, -1] if self.pad_as_symbol else y[torch.arange(len(y)), lengths - 1]
        logits: Tensor = self.head(last)
        return logits


def train_best_words(
    build: Callable[[], WordClassifier],
    words: Split,
    *,
    epochs: int,
    batch: int,
    rates: Sequence[float],
    seed: int,
) -> tuple[WordClassifier, float, float]:
    """Train once with each learning rate; the model, its rate and its accuracy on validation."""
    trials = []
    for rate in rates:
        torch.manual_seed(seed)
        model = build()
        train_words(model, words.train, epochs=epochs, batch=batch, rate=rate, seed=seed)
        trials.append((model, rate, word_accuracy(model, words.validation)[0]))
    return max(trials, key=lambda trial: trial[2])


def train_words(
    model: nn.Module, words: Words, *, epochs: int, batch: int, rate: float, seed: int
) -> None:
    """Adam, gradients clipped at norm 5 as in the thesis; warm-up and cosine as elsewhere here."""
    randomness = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    steps = epochs * -(-len(words.labels) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: pace(n / steps))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(words.labels), generator=randomness).split(batch):
            part = trimmed(words[rows])
            loss = functional.cross_entropy(model(part.codes, part.lengths), part.labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()


def trimmed(words: Words) -> Words:
    """Without columns that are padding in all rows."""
    width = int(words.lengths.max())
    return Words(words.codes[:, :width], words.lengths, words.labels, words.near_miss)


@torch.no_grad()
def word_accuracy(model: nn.Module, words: Words) -> tuple[float, float]:
    """Share of right answers over all words; mean of those over valid words and near misses.

    The second is 1/2 for a network that cannot tell a near miss from a valid word.
    """
    model.eval()
    parts = [trimmed(words[slice(i, i + 512)]) for i in range(0, len(words.labels), 512)]
    answers = torch.cat([model(part.codes, part.lengths).argmax(-1) for part in parts])
    right = (answers == words.labels).float()
    valid, near = right[words.labels == 1].mean(), right[words.near_miss].mean()
    return right.mean().item(), (valid + near).item() / 2
