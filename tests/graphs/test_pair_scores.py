"""The decoder's fast forms against the plain ones: values, gradients, any block."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import pair_scores as module
from graphs.pair_scores import pair_scores, pair_scores_naive, row_scores


def _made(seed: int, *, nodes: int = 7, hidden: int = 5, pairs: int = 40) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    p, q = torch.randn(2, nodes, hidden, dtype=torch.float64).unbind()
    w = torch.randn(hidden, dtype=torch.float64)
    index = torch.randint(nodes, (2, pairs))
    at = torch.randperm(pairs)[: pairs // 4].sort().values
    extra = torch.randn(len(at), hidden, dtype=torch.float64)
    return [p, q, w, index, extra, at]


def test_hand_computed_score() -> None:
    """relu(1 - 3, 2 + 1) . (5, 7) = 21."""
    p, q = torch.tensor([[1.0, 2.0]]), torch.tensor([[-3.0, 1.0]])
    pairs = torch.zeros(2, 1, dtype=torch.int64)
    assert pair_scores(p, q, torch.tensor([5.0, 7.0]), pairs).tolist() == [21.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([1, 12, 1 << 18]))
def test_values_and_gradients_equal_the_plain_form(seed: int, sort: bool, block: int) -> None:
    p, q, w, index, extra, at = _made(seed)
    if sort:
        index = index[:, index[0].argsort()]
    results = []
    for function in (pair_scores, pair_scores_naive):
        leaves = [t.clone().requires_grad_() for t in (p, q, w, extra)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "BLOCK_NUMBERS", block)
            scores = function(*leaves[:3], index, leaves[3], at)
        (scores.sin() * torch.arange(1.0, len(scores) + 1)).sum().backward()
        results.append([scores.detach(), *(leaf.grad for leaf in leaves)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-9, rtol=1e-9)


def test_gradcheck() -> None:
    p, q, w, index, extra, at = _made(3, nodes=4, hidden=3, pairs=9)
    leaves = [t.requires_grad_() for t in (p, q, w)]
    assert torch.autograd.gradcheck(
        lambda a, b, c, e: pair_scores(a, b, c, index, e, at), (*leaves, extra.requires_grad_())
    )


@pytest.mark.parametrize("block", [1, 11, 1 << 18])
def test_rows_equal_pairs(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of rows is the plain form on the grid of its pairs, bitwise repeatable."""
    monkeypatch.setattr(module, "BLOCK_NUMBERS", block)
    p, q, w, *_ = _made(5)
    grid = torch.cartesian_prod(torch.arange(2, 6), torch.arange(7)).T
    rows = row_scores(p, -q, w, q @ w + 0.5, 2, 6)
    torch.testing.assert_close(rows.flatten(), pair_scores_naive(p, q, w, grid) + 0.5)
    assert torch.equal(rows, row_scores(p, -q, w, q @ w + 0.5, 2, 6))


def test_no_pairs() -> None:
    p, q, w, *_ = _made(1)
    p.requires_grad_()
    scores = pair_scores(p, q, w, torch.empty(2, 0, dtype=torch.int64))
    scores.sum().backward()
    assert p.grad is not None and not p.grad.any()
