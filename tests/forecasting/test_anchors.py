"""Anchors: what each kind is, where it starts, how it learns."""

import pytest
import torch

from forecasting.anchors import Anchors, map_start, principal_directions
from forecasting.s2ip_config import AnchorConfig

WORDS = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
KINDS = ("table", "linear", "lowrank", "kmeans", "pca", "uniform", "gaussian", "zeros")


def _anchors(kind: str, **options: object) -> Anchors:
    torch.manual_seed(0)
    given = {"count": 6, "rank": 4} if kind == "lowrank" else {"count": 6}
    return Anchors(AnchorConfig(map=kind, **given, **options), WORDS)


def test_the_words_reach_every_table() -> None:
    """rank(E) = D: A = W E is solvable for any A."""
    assert int(torch.linalg.matrix_rank(WORDS)) == 8
    wanted = torch.randn(6, 8)
    solved = torch.linalg.lstsq(WORDS.T, wanted.T).solution.T
    torch.testing.assert_close(solved @ WORDS, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "trained"), [
    ("table", 6 * 8), ("linear", 6 * 60 + 6), ("lowrank", 6 * 4), ("kmeans", 0), ("pca", 0),
    ("uniform", 0), ("gaussian", 0), ("zeros", 0),
])  # fmt: skip
def test_shapes_and_trained_weights(kind: str, trained: int) -> None:
    anchors = _anchors(kind)
    assert anchors().shape == (6, 8) and anchors().isfinite().all()
    assert sum(weight.numel() for weight in anchors.parameters()) == trained
    assert "words" not in anchors.state_dict()


def test_table_and_map_start_at_the_same_anchors() -> None:
    torch.testing.assert_close(_anchors("table")(), _anchors("linear")())
    torch.manual_seed(0)
    weight, bias = map_start(60, 6)
    stock = torch.nn.Linear(60, 6)
    for part, own in ((weight, stock.weight), (bias, stock.bias)):  # torch's own bounds
        assert part.abs().max() <= 60**-0.5 and own.abs().max() <= 60**-0.5


def test_lowrank_is_the_projection_of_the_start() -> None:
    basis = principal_directions(WORDS)[:4]
    torch.testing.assert_close(basis @ basis.T, torch.eye(4), rtol=0, atol=1e-5)
    start = _anchors("table")()
    torch.testing.assert_close(_anchors("lowrank")(), start @ basis.T @ basis, rtol=1e-4, atol=1e-5)


def test_preconditioned_table_follows_the_map_under_gradient_descent() -> None:
    words, goal = WORDS.double(), torch.randn(6, 8, dtype=torch.float64)
    mapped = _anchors("linear").double()
    table = _anchors("table", precondition=True).double()
    mapped.words, table.words = words, words
    with torch.no_grad():
        table.table.copy_(mapped())
    for model in (mapped, table):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(20):
            optimizer.zero_grad()
            (model() - goal).square().sum().backward()
            optimizer.step()
    # the moment matrix of the hook is of float32 words, which are the same numbers
    torch.testing.assert_close(table(), mapped(), rtol=0, atol=1e-5)


def test_principal_directions_both_ways() -> None:
    found = _anchors("pca")()
    torch.testing.assert_close(found[0::2], -found[1::2])
    singular = torch.linalg.svdvals(WORDS)[:3]
    torch.testing.assert_close(found[0::2].norm(dim=1), singular, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="16 anchors at most"):
        Anchors(AnchorConfig(map="pca", count=17), WORDS)


def test_given_words_and_controls() -> None:
    chosen = Anchors(AnchorConfig(map="words", count=2, word_ids=[5, 7]), WORDS)
    assert torch.equal(chosen(), WORDS[[5, 7]])
    assert _anchors("uniform")().abs().max() <= 5 and not _anchors("zeros")().any()
    with pytest.raises(ValueError, match="0 .. 59"):
        Anchors(AnchorConfig(map="words", count=1, word_ids=[60]), WORDS)
    assert torch.equal(_anchors("kmeans")(), _anchors("kmeans")())


def test_nearest_words_of_a_word_is_itself() -> None:
    chosen = Anchors(AnchorConfig(map="words", count=2, word_ids=[5, 7]), WORDS)
    assert chosen.nearest_words(1, 3)[0] == 7
    assert chosen.nearest_words(0, 3, centred=True)[0] == 5


@pytest.mark.parametrize(("options", "told"), [
    ({"map": "linear", "rank": 8}, "rank has no effect"),
    ({"map": "linear", "precondition": True}, "precondition has no effect"),
    ({"map": "table", "train": True}, "train has no effect"),
    ({"map": "words", "word_ids": [1]}, "count is 1000"),
    ({"count": 0}, "at least 1"),
])  # fmt: skip
def test_options_that_mean_nothing(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        AnchorConfig(**options)
