import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.evaluation.classification import (
    LabelledStep,
    area_under_roc,
    best_f1_threshold,
    class_metrics,
    f1,
    minority_log_odds,
)
from graphs.evaluation.naive import naive_auc

metrics = pytest.importorskip("sklearn.metrics")


def random_step(step: int, items: int, classes: int, seed: int) -> LabelledStep:
    """Two classes: logits on a coarse grid, so that many tie."""
    rng = np.random.default_rng([seed, step])
    grid = rng.integers(-3, 4, (items, classes)) / 2
    logits = grid if classes == 2 else rng.normal(size=(items, classes))
    return LabelledStep(step, logits, rng.choice(classes, items))


@pytest.mark.parametrize("classes", [2, 4])
def test_pooled_metrics_equal_sklearn(classes: int) -> None:
    steps = [random_step(step, 30 + step, classes, seed=0) for step in range(5)]
    ours = class_metrics(steps, minority=1, threshold=0.3)
    logits = np.concatenate([one.logits for one in steps])
    labels = np.concatenate([one.labels for one in steps])
    probability = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    margin, minority = np.log(probability / (1 - probability)).round(9), labels == 1
    predicted = logits.argmax(axis=1)
    assert ours.micro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="micro"))
    assert ours.minority_f1 == pytest.approx(metrics.f1_score(minority, predicted == 1))
    assert ours.auc == pytest.approx(metrics.roc_auc_score(minority, margin))
    assert ours.minority_ap == pytest.approx(metrics.average_precision_score(minority, margin))
    expected = metrics.f1_score(minority, margin >= 0.3)
    assert ours.minority_f1_val_threshold == pytest.approx(expected)
    called = np.where(margin >= 0.3, 1, np.where(np.arange(classes) == 1, -9, logits).argmax(1))
    assert ours.micro_f1_val_threshold == pytest.approx(np.mean(called == labels))
    aucs = [
        metrics.roc_auc_score(one.labels == 1, minority_log_odds(one.logits, 1)) for one in steps
    ]
    assert ours.auc_step_mean == pytest.approx(np.mean(aucs))
    assert (ours.num_items, ours.n_steps, ours.n_steps_both) == (160, 5, 5)


def test_counts_are_summed_before_f1() -> None:
    """TP 1 of 1 in step 0; TP 0, FP 2, FN 2 in step 1: 2/(2 + 2 + 2), not the mean of 1 and 0."""
    first = LabelledStep(0, np.array([[0.0, 1.0]]), np.array([1]))
    second = LabelledStep(1, np.array([[0.0, 1], [0, 1], [1, 0], [1, 0]]), np.array([0, 0, 1, 1]))
    ours = class_metrics([first, second], minority=1)
    assert ours.minority_f1 == pytest.approx(1 / 3)
    assert ours.micro_f1 == pytest.approx(1 / 5)
    assert (ours.n_steps, ours.n_steps_both) == (2, 1)
    assert ours.minority_f1_val_threshold is None and "micro_f1_val_threshold" not in ours.values


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_auc_is_the_share_of_couples_in_order(items: list[tuple[int, bool]]) -> None:
    score, positive = (np.array(column) for column in zip(*items, strict=True))
    if positive.all() or not positive.any():
        positive[0] = not positive[0]
    score = score.astype(float)
    assert area_under_roc(score, positive) == pytest.approx(naive_auc(score, positive), abs=1e-12)


def test_one_class_has_no_auc_and_says_so() -> None:
    step = LabelledStep(0, np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    ours = class_metrics([step], minority=1)
    assert ours.auc is ours.minority_ap is ours.auc_step_mean is None
    assert ours.n_steps_both == 0 and ours.minority_f1 == 0
    assert not any(math.isnan(value) for value in ours.values.values())
    assert "auc" not in ours.values
    with pytest.raises(ValueError, match="both classes"):
        area_under_roc(np.ones(2), np.ones(2, bool))


@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 1)),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=80, deadline=None)
def test_no_threshold_has_a_higher_f1(items: list[tuple[int, int, int]]) -> None:
    first, second, label = (np.array(column) for column in zip(*items, strict=True))
    label[0] = 1
    step = LabelledStep(0, np.stack([first, second], 1).astype(float), label)
    margin = (second - first).astype(float)
    threshold = best_f1_threshold([step], minority=1)
    best = max(f1(margin >= one, label == 1) for one in margin)
    assert f1(margin >= threshold, label == 1) == best
    assert all(f1(margin >= one, label == 1) < best for one in margin if one > threshold)


def test_thresholds_of_minority_zero_are_log_odds_of_it() -> None:
    step = LabelledStep(0, np.array([[2.0, 0], [1, 0], [-1, 0]]), np.array([0, 0, 1]))
    assert best_f1_threshold([step], minority=0) == pytest.approx(1.0)


def test_wrong_input_is_refused() -> None:
    empty = LabelledStep(0, np.empty((0, 2)), np.empty(0, int))
    with pytest.raises(ValueError, match="no labelled item"):
        class_metrics([empty], minority=0)
    with pytest.raises(ValueError, match="no labelled item"):
        class_metrics([], minority=0)
    ones = LabelledStep(0, np.ones((2, 2)), np.array([0, 2]))
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\)"):
        class_metrics([ones], minority=0)
    nan = LabelledStep(0, np.array([[np.nan, 0.0]]), np.array([0]))
    with pytest.raises(ValueError, match="NaN"):
        class_metrics([nan], minority=0)
    with pytest.raises(ValueError, match="no item of class 1"):
        best_f1_threshold([LabelledStep(0, np.ones((1, 2)), np.array([0]))], minority=1)
