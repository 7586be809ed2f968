"""Conformal intervals: ranks by hand, coverage on independent data, too few windows."""

import numpy as np
import pytest

from forecasting.intervals import (
    Conformal,
    check_levels,
    conformal_width,
    pinball,
    score_intervals,
    windows_needed,
)
from foretell.errors import UserError


def test_rank_by_hand() -> None:
    errors = np.arange(1.0, 10.0)[::-1, None]  # 9 .. 1
    # ceil(10 * .8) = 8th smallest, ceil(10 * .5) = 5th
    assert conformal_width(errors, 80.0).tolist() == [8.0]
    assert conformal_width(errors, 50.0).tolist() == [5.0]
    assert conformal_width(np.arange(1.0, 20.0)[:, None], 95.0).tolist() == [19.0]


def test_too_few_windows() -> None:
    assert [windows_needed(level) for level in (50.0, 80.0, 90.0, 95.0)] == [1, 4, 9, 19]
    with pytest.raises(ValueError, match="an interval of 95 % needs 19 windows, got 18"):
        conformal_width(np.ones((18, 2)), 95.0)
    with pytest.raises(UserError, match="needs 19 calibration windows, there are 18: give fit"):
        Conformal(np.ones((18, 2))).widths(95.0, 3)


def test_coverage_of_independent_errors_and_nested_levels() -> None:
    """Within three binomial standard errors, of calibration and test together."""
    random = np.random.default_rng(0)
    covered = {80.0: 0.0, 95.0: 0.0}
    rounds, count, tested = 200, 99, 200
    for _ in range(rounds):
        errors = np.abs(random.standard_t(3, size=(count, 1)))
        widths = {level: conformal_width(errors, level)[0] for level in covered}
        assert widths[80.0] <= widths[95.0]
        fresh = np.abs(random.standard_t(3, size=tested))
        for level in covered:
            covered[level] += (fresh <= widths[level]).mean() / rounds
    for level, found in covered.items():
        share = level / 100
        deviation = np.sqrt(share * (1 - share) / rounds * (1 / tested + 1 / (count + 2)))
        assert abs(found - share) < 3 * deviation


def test_own_windows_where_there_are_enough() -> None:
    errors = np.concatenate([np.full((20, 1), 1.0), np.full((3, 1), 50.0)])
    series = np.array([0] * 20 + [1] * 3)
    widths = Conformal(errors, series).widths(80.0, 3)
    assert widths[0] == 1.0  # its own twenty
    assert widths[1] == widths[2] == 1.0  # three are too few: pooled, 20th of 23


def test_scores_by_hand() -> None:
    y, lower, upper = np.array([1.0, 5.0]), np.array([0.0, 0.0]), np.array([2.0, 4.0])
    found = score_intervals(y, lower, upper, 80.0)
    assert (found.coverage, found.width) == (50.0, 3.0)
    # lower bounds at .1: .1 * 1, .1 * 5; upper at .9: .1 * 1 (above y), .9 * 1
    assert found.pinball == pytest.approx(((0.1 + 0.5) / 2 + (0.1 + 0.9) / 2) / 2)
    assert pinball(np.array([3.0]), np.array([1.0]), 0.9).tolist() == [1.8]
    with pytest.raises(ValueError, match="no value"):
        score_intervals(np.empty(0), np.empty(0), np.empty(0), 80.0)


@pytest.mark.parametrize(
    ("levels", "told"), [([0.0], "level 0.0 must lie"), ([80.0, 80.0], "twice")]
)
def test_levels(levels: list[float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_levels(levels)
    with pytest.raises(ValueError, match="between 0 and 100"):
        conformal_width(np.ones((5, 1)), 100.0)
