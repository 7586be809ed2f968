import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.evaluation.average_precision import average_precision, average_precision_of_counts
from graphs.evaluation.naive import naive_average_precision

metrics = pytest.importorskip("sklearn.metrics")


def test_by_hand() -> None:
    """Positives first and third: 1/2 * 1 + 1/2 * 2/3."""
    score, positive = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
    assert average_precision(score, positive) == pytest.approx(5 / 6)


def test_a_tied_group_shares_its_lowest_precision() -> None:
    positive = np.array([True, False, False, False])
    assert average_precision(np.ones(4), positive) == 0.25


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(1, 50)), min_size=1),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_equals_sklearn_and_the_definition(
    items: list[tuple[int, bool, int]], weighted: bool
) -> None:
    score, positive, weight = (np.array(column) for column in zip(*items, strict=True))
    if not positive.any():
        positive[0] = True
    given_weight = weight.astype(float) if weighted else None
    ours = average_precision(score.astype(float), positive, given_weight)
    theirs = metrics.average_precision_score(positive, score, sample_weight=given_weight)
    assert ours == pytest.approx(theirs, abs=1e-12)
    naive = naive_average_precision(score.astype(float), positive, given_weight)
    assert ours == pytest.approx(naive, abs=1e-12)


def test_counts_give_the_same() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 9, 200).astype(float), rng.random(200) < 0.1
    thresholds = np.unique(score[positive])
    at_least = np.array([np.count_nonzero(score >= threshold) for threshold in thresholds])
    ours = average_precision_of_counts(score[positive], thresholds, at_least)
    assert ours == pytest.approx(metrics.average_precision_score(positive, score), abs=1e-12)


def test_what_has_no_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a positive item"):
        average_precision(np.ones(3), np.zeros(3, bool))
    with pytest.raises(ValueError, match="NaN"):
        average_precision(np.array([1.0, np.nan]), np.ones(2, bool))
