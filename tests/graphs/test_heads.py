"""Decoders and losses: formulas by hand, fast scores against the written-out decoder."""

import math

import pytest
import torch
from torch.nn import functional

from graphs.heads import NodeDecoder, PairDecoder, link_loss, weighted_loss
from graphs.structure import StructureStep

LOGITS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


def test_loss_over_the_count_is_not_torchs() -> None:
    """(0.1 log 2 + 0.9 log(1 + 1/e) + 0.9 log(1 + e^2)) / 3; torch divides by 1.9."""
    total = 0.1 * math.log(2) + 0.9 * math.log(1 + math.exp(-1)) + 0.9 * math.log(1 + math.exp(2))
    ours = weighted_loss(LOGITS, LABELS, [0.1, 0.9], norm="count")
    theirs = functional.cross_entropy(LOGITS, LABELS, torch.tensor([0.1, 0.9], dtype=torch.float64))
    assert float(ours) == pytest.approx(total / 3)
    assert float(theirs) == pytest.approx(total / 1.9)
    assert float(weighted_loss(LOGITS, LABELS, [0.1, 0.9], norm="weights")) == pytest.approx(
        float(theirs)
    )


@pytest.mark.parametrize("norm", ["count", "weights"])
@pytest.mark.parametrize("weights", [[], [0.1, 0.9]])
def test_link_loss_is_the_loss_of_two_logits(norm: str, weights: list[float]) -> None:
    scores = LOGITS[:, 1] - LOGITS[:, 0]
    ours = link_loss(scores, LABELS == 1, weights, norm=norm)  # type: ignore[arg-type]
    plain = weighted_loss(LOGITS, LABELS, weights, norm=norm)  # type: ignore[arg-type]
    assert float(ours) == pytest.approx(float(plain), abs=1e-12)


@pytest.mark.parametrize("norm", ["count", "weights"])
def test_sample_weights_repeat_samples(norm: str) -> None:
    """A pair of weight 3 is the pair three times."""
    scores, linked = torch.tensor([0.3, -1.0, 0.7]), torch.tensor([True, False, False])
    many = torch.tensor([0, 1, 2, 2, 2])
    once = link_loss(
        scores, linked, [0.2, 0.8], norm=norm,  # type: ignore[arg-type]
        sample_weights=torch.tensor([1.0, 1.0, 3.0]),
    )  # fmt: skip
    often = link_loss(scores[many], linked[many], [0.2, 0.8], norm=norm)  # type: ignore[arg-type]
    assert float(once) == pytest.approx(float(often), rel=1e-6)


def test_scores_are_the_difference_of_the_logits() -> None:
    """P[u] + Q[v] + the pair's columns is Linear(concat); pairs that never met bring zeros."""
    torch.manual_seed(0)
    nodes, dim = 6, 4
    decoder = PairDecoder(dim, 8, pair_columns=3).double()
    x = torch.randn(nodes, dim, dtype=torch.float64)
    met = torch.tensor([3, 8, 14, 35])
    step = StructureStep(torch.zeros(nodes, 0), met, torch.randn(4, 3))
    keys = torch.arange(nodes**2)
    pairs = torch.stack([keys // nodes, keys % nodes])
    columns = torch.zeros(nodes**2, 3, dtype=torch.float64)
    columns[met] = step.pairs.double()
    logits = decoder(x, pairs, columns)
    torch.testing.assert_close(decoder.scores(x, pairs, step), logits[:, 1] - logits[:, 0])


def test_node_decoder_by_hand() -> None:
    decoder = NodeDecoder(1, 2, 1)
    with torch.no_grad():
        decoder.hidden.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        decoder.hidden.bias.copy_(torch.tensor([0.5, 0.0]))
        decoder.out.weight.copy_(torch.tensor([[2.0, 3.0]]))
        decoder.out.bias.fill_(0.25)
    assert decoder(torch.tensor([[1.0], [-2.0]])).flatten().tolist() == [3.25, 6.25]
