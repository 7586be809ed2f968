"""The chosen anchors against a loop, ties, planted anchors, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.retrieval import anchor_cosines, retrieve, retrieve_naive

QUERIES = ("mean", "patch_mean", "patch_max")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.sampled_from(QUERIES))
def test_equals_the_loop(seed: int, count: int, query: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(3, 4, 5, generator=generator)
    anchors = torch.randn(6, 5, generator=generator)
    found = retrieve(tokens, anchors, count, query=query)
    assert found.anchors.tolist() == retrieve_naive(tokens, anchors, count, query=query)
    assert found.cosine.shape == (3, count)
    every = anchor_cosines(tokens, anchors, query=query)
    torch.testing.assert_close(found.cosine, every.gather(1, found.anchors))


@pytest.mark.parametrize("query", QUERIES)
def test_ties_go_to_the_lower_index(query: str) -> None:
    anchors = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    tokens = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]]])
    assert retrieve(tokens, anchors, 3, query=query).anchors.tolist() == [[1, 2, 4], [0, 3, 1]]
    nothing = retrieve(tokens, torch.zeros(5, 2), 4, query=query)
    assert nothing.anchors.tolist() == [[0, 1, 2, 3]] * 2


def test_a_planted_anchor_comes_first() -> None:
    tokens, anchors = torch.randn(2, 7, 9), torch.randn(40, 9)
    anchors[23] = 3 * tokens[1].mean(0)
    found = retrieve(tokens, anchors, 2)
    assert found.anchors[1, 0] == 23 and found.cosine[1, 0] == pytest.approx(1.0, abs=1e-5)


def test_queries_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    anchors = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    mean, each, largest = (
        retrieve(tokens, anchors, 2, query=query).cosine[0].tolist() for query in QUERIES
    )
    root = 0.5**0.5
    assert mean == pytest.approx([1.0, root])
    assert each == pytest.approx([root, 0.5])
    assert largest == pytest.approx([1.0, root])  # the second anchor's own token is exact


def test_only_chosen_anchors_get_a_gradient() -> None:
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    anchors = torch.randn(10, 4, requires_grad=True)
    found = retrieve(tokens, anchors, 2)
    found.cosine.sum().backward()
    assert tokens.grad is not None and tokens.grad.any()
    chosen = set(found.anchors.flatten().tolist())
    assert anchors.grad is not None
    for row, gradient in enumerate(anchors.grad):
        assert bool(gradient.any()) == (row in chosen)


def test_rows_of_norm_one_may_be_given() -> None:
    tokens, anchors = torch.randn(4, 3, 5), torch.randn(20, 5)
    unit = torch.nn.functional.normalize(anchors, dim=-1)
    for one, other in zip(
        retrieve(tokens, anchors, 3), retrieve(tokens, anchors, 3, normed=unit), strict=True
    ):
        torch.testing.assert_close(one, other)
