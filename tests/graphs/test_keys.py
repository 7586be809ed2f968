"""Sorted, different and merged keys against torch's own."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.keys import merge_keys, number_nodes, sorted_keys, unique_keys

KEYS = st.lists(st.integers(0, 40), max_size=60).map(lambda k: torch.tensor(k, dtype=torch.int64))


@settings(deadline=None)
@given(KEYS)
def test_equal_to_torch(keys: torch.Tensor) -> None:
    given_keys = keys.clone()
    assert torch.equal(sorted_keys(keys), keys.sort().values)
    assert torch.equal(unique_keys(keys), torch.unique(keys))
    for found, wanted in zip(
        number_nodes(keys, 41), torch.unique(keys, return_inverse=True), strict=True
    ):
        assert torch.equal(found, wanted)
    assert torch.equal(keys, given_keys)  # sorting is not in place


def test_merged_keys_know_their_part() -> None:
    parts = [torch.tensor([5, 1]), torch.tensor([3]), torch.tensor([5, 2**60])]
    keys, part = merge_keys(parts)
    assert keys.tolist() == [1, 3, 5, 5, 2**60]
    assert part.tolist() == [0, 1, 0, 2, 2]
