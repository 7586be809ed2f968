"""Semantic anchors: A [V', D] made of the word embeddings E [V, D] of a language model.

Published is A = W E + b 1^T with a trained map W over the whole vocabulary. As E has rank D, the
maps reach every table and nothing else: a free table is the same class at 1/65 of the weights.
What the map adds is where training starts and, for gradient descent, the path: dA = -lr G (E^T E +
1 1^T), which `precondition` gives the table as well. Anchors are mixtures, not words.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from forecasting.anchor_cache import kept_rows
from forecasting.s2ip_config import AnchorConfig
from foretell.errors import missing_package

CONTROL_SCALE = 5.0
"""Bound of uniform and deviation of gaussian controls (released code)."""
SEED = 0
"""Of k-means."""


class Anchors(nn.Module):
    """The anchors and how they are trained.

    Args:
        config: Which.
        words: E; kept outside the weights, as it belongs to the language model.

    Raises:
        ValueError: More principal directions than there are, a word id outside the vocabulary.
    """

    def __init__(self, config: AnchorConfig, words: Float[Tensor, "words dim"]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("words", words.detach().float(), persistent=False)
        self.words: Tensor
        start = _start(config, self.words)
        match config.map:
            case "linear":
                self.weight, self.bias = (nn.Parameter(part) for part in start)
            case "lowrank":
                basis = _directions(self.words)[: config.rank].clone()
                self.register_buffer("basis", basis)
                self.basis: Tensor
                self.table = nn.Parameter(start[0] @ basis.T)
            case "table":
                self.table = nn.Parameter(start[0])
                if config.precondition:
                    moment = self.words.T @ self.words + 1
                    self.table.register_hook(lambda gradient: gradient @ moment.to(gradient))
            case _ if config.train:
                self.table = nn.Parameter(start[0])
            case _:
                self.register_buffer("table", start[0])

    def forward(self) -> Float[Tensor, "anchors dim"]:
        """A."""
        if self.config.map == "linear":
            return self.weight @ self.words + self.bias[:, None]
        if self.config.map == "lowrank":
            return self.table @ self.basis
        return self.table

    @torch.no_grad()
    def nearest_words(
        self, anchor: int, count: int, *, centred: bool = False
    ) -> Int[Tensor, " count"]:
        """Ids of the words of highest cosine with an anchor.

        Args:
            anchor: Which.
            count: How many.
            centred: After removing the mean word from both, which dominates raw cosines.
        """
        return nearest_words(self()[anchor][None], self.words, count, centred=centred)[0]


@torch.no_grad()
def nearest_words(
    anchors: Float[Tensor, "anchors dim"],
    words: Float[Tensor, "words dim"],
    count: int,
    *,
    centred: bool = False,
) -> Int[Tensor, "anchors count"]:
    """Ids of the words of highest cosine with each anchor, the nearest first.

    Args:
        anchors: Rows, such as some of A.
        words: E.
        count: How many words an anchor.
        centred: After removing the mean word from both, which dominates raw cosines.
    """
    if centred:
        mean = words.mean(0)
        words, anchors = words - mean, anchors - mean
    unit = nn.functional.normalize(words, dim=1)
    return (nn.functional.normalize(anchors, dim=1) @ unit.T).topk(count).indices


def map_start(
    vocabulary: int, count: int, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "anchors words"], Float[Tensor, " anchors"]]:
    """W_0 and b_0 as torch starts a Linear(V, V'): uniform within 1/sqrt(V)."""
    bound = 1 / math.sqrt(vocabulary)
    weight = torch.empty(count, vocabulary).uniform_(-bound, bound, generator=generator)
    return weight, torch.empty(count).uniform_(-bound, bound, generator=generator)


def principal_directions(words: Float[Tensor, "words dim"]) -> Float[Tensor, "dim dim"]:
    """Right singular vectors of E, the largest first, as rows; signs by their largest entry."""
    values, vectors = torch.linalg.eigh(words.double().T @ words.double())
    rows = vectors.T[values.argsort(descending=True)]
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    signed: Tensor = rows * largest.sign()
    return signed.float()


def _start(config: AnchorConfig, words: Tensor) -> tuple[Tensor, ...]:
    vocabulary, dim = words.shape
    shape = (config.count, dim)
    match config.map:
        case "linear":
            return map_start(vocabulary, config.count)
        case "table" | "lowrank":
            weight, bias = map_start(vocabulary, config.count)
            return (weight @ words + bias[:, None],)
        case "kmeans":
            return (
                kept_rows(
                    f"kmeans{SEED}", words, config.count, lambda: _centroids(words, config.count)
                ),
            )
        case "pca":
            return (_both_ways(words, config.count),)
        case "words":
            ids = torch.tensor(config.word_ids)
            if int(ids.max()) >= vocabulary or int(ids.min()) < 0:
                raise ValueError(f"word_ids must lie in 0 .. {vocabulary - 1}")
            return (words[ids].clone(),)
        case "uniform":
            return (torch.empty(shape).uniform_(-CONTROL_SCALE, CONTROL_SCALE),)
        case "gaussian":
            return (torch.randn(shape) * CONTROL_SCALE,)
        case "zeros":
            return (torch.zeros(shape),)


def _directions(words: Tensor) -> Tensor:
    return kept_rows("pca", words, words.shape[1], lambda: principal_directions(words))


def _both_ways(words: Tensor, count: int) -> Tensor:
    """+ and - of the first principal directions, as long as their singular values."""
    if count > 2 * words.shape[1]:
        raise ValueError(
            f"pca has {2 * words.shape[1]} anchors at most, twice the width of a word, got {count}"
        )
    directions = _directions(words)
    sizes = (words @ directions.T).norm(dim=0)
    scaled = directions * sizes[:, None]
    return torch.stack([scaled, -scaled], 1).flatten(0, 1)[:count].clone()


def _centroids(words: Tensor, count: int) -> Tensor:
    """Of k-means, seeded; the same words give the same centroids."""
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        raise missing_package("scikit-learn", "forecasting") from None
    if count > len(words):
        raise ValueError(f"kmeans cannot make {count} anchors of {len(words)} words")
    found = MiniBatchKMeans(count, random_state=SEED, n_init=1, batch_size=4096)
    centres = found.fit(words.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centres).float()
