"""The grammar of data.splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.errors import UserError
from lidar.data.selectors import parse_selector


@pytest.mark.parametrize(
    ("text", "name", "bounds"),
    [
        ("train", "train", (0, 40)),
        ("scene-0061[3:7]", "scene-0061", (3, 7)),
        ("all[:50%]", "all", (0, 20)),
        ("00[36:]", "00", (36, 40)),
        ("00[36:99]", "00", (36, 40)),
        (" a b [0%:100%]", "a b", (0, 40)),
    ],
)
def test_selectors(text, name, bounds):
    selector = parse_selector(text)
    assert (selector.name, selector.bounds(40)) == (name, bounds)


@pytest.mark.parametrize("text", ["", "a[1]", "a[1:2", "a[-1:2]", "a[%:2]", "a[0%:101%]", "[1:2]"])
def test_malformed_selectors(text):
    with pytest.raises(UserError, match="cannot read the log selection"):
        parse_selector(text)


@given(st.integers(1, 500), st.integers(0, 100))
def test_percentages_split_a_log_without_overlap(num_sweeps, percent):
    first = parse_selector(f"x[0%:{percent}%]").bounds(num_sweeps)
    rest = parse_selector(f"x[{percent}%:100%]").bounds(num_sweeps)
    assert first[0] == 0 and first[1] == rest[0] and rest[1] == num_sweeps
