import pytest
from experiment import Claim, judge


def rows(**sides):
    return [
        {"variant": variant, "seed": str(seed), "accuracy": str(value)}
        for variant, values in sides.items()
        for seed, value in enumerate(values)
    ]


ABOVE = Claim("a is above b", ("a", "accuracy"), ("b", "accuracy"))
EQUAL = Claim("a equals b", ("a", "accuracy"), ("b", "accuracy"), "equal")


def test_above_needs_more_than_the_spread_of_the_paired_difference():
    verdict = judge(ABOVE, rows(a=[0.5, 0.6, 0.7], b=[0.4, 0.5, 0.3]))
    assert (verdict.one, verdict.other) == pytest.approx((0.6, 0.4))
    assert verdict.spread == pytest.approx(0.03**0.5)  # of 0.1, 0.1, 0.4
    assert verdict.answer == "reproduced"
    for a, b in (([0.5, 0.6, 0.5], [0.4, 0.6, 0.5]), ([0.4, 0.3, 0.4], [0.5, 0.6, 0.5])):
        assert judge(ABOVE, rows(a=a, b=b)).answer == "not reproduced"


def test_an_easy_task_tells_nothing():
    assert judge(ABOVE, rows(a=[0.9] * 3, b=[0.8] * 3)).answer == "too easy to tell"
    assert judge(EQUAL, rows(a=[0.97] * 3, b=[0.96] * 3)).answer == "too easy to tell"
    assert judge(EQUAL, rows(a=[0.7] * 3, b=[0.69] * 3)).answer == "reproduced"


def test_equal_means_inside_the_spread_or_the_margin():
    assert judge(EQUAL, rows(a=[0.5, 0.6, 0.5], b=[0.51, 0.61, 0.51])).answer == "reproduced"
    assert judge(EQUAL, rows(a=[0.5, 0.6, 0.5], b=[0.56, 0.57, 0.5])).answer == "reproduced"
    assert judge(EQUAL, rows(a=[0.5, 0.6, 0.5], b=[0.55, 0.65, 0.55])).answer == "not reproduced"


def test_a_wide_spread_tells_no_equality():
    assert judge(EQUAL, rows(a=[0.9, 0.5, 0.7], b=[0.5, 0.7, 0.3])).answer == "undecided"
    assert judge(EQUAL, rows(a=[0.9, 0.8, 0.9], b=[0.3, 0.4, 0.5])).answer == "not reproduced"


def test_all_seeds_of_both_sides_are_needed():
    assert judge(ABOVE, rows(a=[0.5, 0.6, 0.7], b=[0.4, 0.5])) is None
