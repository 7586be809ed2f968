"""Ids become numbers in ascending order, by a table or by hashing alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.data.node_ids import find_nodes, number_nodes

IDS = st.integers(-50, 50) | st.integers(-(2**60), 2**60)


@given(st.lists(st.tuples(IDS, st.integers(-50, 50)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_numbers_are_ranks_among_the_distinct_ids(rows):
    one, two = (list(column) for column in zip(*rows, strict=True))
    (first, second), ids = number_nodes(np.array(one), np.array(two))
    assert ids.tolist() == sorted({*one, *two})
    assert ids[first].tolist() == one and ids[second].tolist() == two


@pytest.mark.parametrize("ids", [["b", "a", "10", "9"], ["ß", "z", "Z", "é"]])
def test_text_is_ordered_by_code_point(ids):
    (numbers,), found = number_nodes(np.array(ids, object))
    assert found.tolist() == sorted(ids)
    assert found[numbers].tolist() == ids


def test_ids_are_found_in_a_list_or_not():
    known = np.array(["x", "a", "m"], object)
    assert find_nodes(np.array(["m", "q", "x"], object), known).tolist() == [2, -1, 0]
    assert find_nodes(np.array([5, 7]), np.array([7, 9])).tolist() == [-1, 0]
