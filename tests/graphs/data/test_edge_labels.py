"""Majority of the labels of a pair, against a loop over dictionaries."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.data.edge_labels import majority_labels, rating_labels


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 3)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_most_frequent_class_wins_and_ties_go_to_the_smallest(rows):
    votes = [Counter() for _ in range(6)]
    for pair, label in rows:
        if label >= 0:
            votes[pair][label] += 1
    expected = [min(v, key=lambda c: (-v[c], c)) if v else -1 for v in votes]
    pair, label = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).T
    assert majority_labels(pair, label, 6).tolist() == expected


def test_only_positive_ratings_are_class_one():
    assert rating_labels(np.array([-10, -1, 0, 1, 10])).tolist() == [0, 0, 0, 1, 1]
