import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.evaluation.naive import naive_rank
from graphs.evaluation.ranks import (
    Ties,
    counts_within_rows,
    mean_over_sources,
    one_vs_many_ranks,
    tied_ranks,
)

RULES: tuple[Ties, ...] = ("mean", "optimistic", "pessimistic")


@pytest.mark.parametrize(("ties", "rank"), [("mean", 4), ("optimistic", 3), ("pessimistic", 5)])
def test_two_above_and_three_tied(ties: Ties, rank: float) -> None:
    assert tied_ranks(np.array([2]), np.array([3]), ties).tolist() == [rank]


@pytest.mark.parametrize("ties", RULES)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_one_vs_many_is_the_rank_by_definition(ties: Ties, rivals: list[int], own: int) -> None:
    ranks = one_vs_many_ranks(np.array([own], float), np.array([rivals], float), ties)
    assert ranks[0] == naive_rank(float(own), np.array(rivals, float), ties)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)), min_size=1),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_counts_within_rows_are_sums_of_weights(
    items: list[tuple[int, int, int]], weighted: bool
) -> None:
    row, score, weight = (np.array(column) for column in zip(*items, strict=True))
    given_weight = weight.astype(float) if weighted else None
    greater, equal = counts_within_rows(row, score.astype(float), given_weight)
    used = weight if weighted else np.ones_like(weight)
    for item in range(len(items)):
        same_row = row == row[item]
        assert greater[item] == used[same_row & (score > score[item])].sum()
        assert equal[item] == used[same_row & (score == score[item])].sum()


def test_no_items_have_no_counts() -> None:
    greater, equal = counts_within_rows(np.empty(0, int), np.empty(0))
    assert len(greater) == len(equal) == 0


def test_every_source_counts_once() -> None:
    """(1 + 0.5)/2 of source 7 and 0.25 of source 3: mean 0.5, not the 0.583 over positives."""
    value, source = np.array([1.0, 0.5, 0.25]), np.array([7, 7, 3])
    assert mean_over_sources(value, source) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no positive pair"):
        mean_over_sources(np.empty(0), np.empty(0, int))
