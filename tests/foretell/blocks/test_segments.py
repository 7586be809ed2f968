"""Resets, packed rows, and the pieces between them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foretell.blocks.segments import (
    find_segments,
    reset_from_cu_seqlens,
    run_segments,
    segment_ids,
)


def test_packed_rows():
    reset = reset_from_cu_seqlens(torch.tensor([0, 2, 2, 5]), 6 - 1)
    assert reset.int().tolist() == [[1, 0, 1, 0, 0]]
    assert reset_from_cu_seqlens(torch.tensor([0, 0]), 0).shape == (1, 0)
    for offsets in ([1, 5], [0, 4], [0, 3, 2, 5], []):
        with pytest.raises(ValueError, match="must rise from 0 to 5"):
            reset_from_cu_seqlens(torch.tensor(offsets, dtype=torch.int64), 5)


def test_segment_ids_count_resets():
    reset = torch.tensor([[False, True, False, True], [True, False, False, False]])
    ids = segment_ids(reset)
    assert ids is not None and ids.tolist() == [[0, 1, 1, 2], [1, 1, 1, 1]]
    assert segment_ids(None) is None


def test_pieces_by_hand():
    reset = torch.tensor([[False, False, True, False], [True, False, False, True]])
    pieces = find_segments(reset, torch.tensor([4, 2]))
    assert pieces.row.tolist() == [0, 0, 1]
    assert pieces.start.tolist() == [0, 2, 0]
    assert pieces.length.tolist() == [2, 2, 2]  # The reset in the padding does not count.
    assert pieces.fresh.tolist() == [False, True, True]
    assert pieces.last.tolist() == [False, True, True]
    empty = find_segments(reset[:, :0], None)
    assert empty.row.tolist() == [0, 1] and empty.length.tolist() == [0, 0]


@given(st.data())
def test_pieces_run_as_a_counter_that_restarts(data):
    """A block that counts its steps, against a plain loop."""
    batch, time = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 7))
    bits = st.lists(st.booleans(), min_size=time, max_size=time)
    reset = torch.tensor([data.draw(bits) for _ in range(batch)], dtype=torch.bool)
    reset = reset.view(batch, time)
    lengths = torch.tensor([data.draw(st.integers(0, time)) for _ in range(batch)])
    begin = torch.arange(batch) * 10.0 + 5

    def count(x, state, sizes):
        steps = torch.arange(1, x.shape[1] + 1)
        return state[:, None] + torch.minimum(steps, sizes[:, None]) + 0 * x, state + sizes

    y, end = run_segments(count, torch.zeros(batch, time), begin, torch.zeros(batch),
                          lengths=lengths, reset=reset)  # fmt: skip
    for row in range(batch):
        value = float(begin[row])
        for t in range(time):
            if t >= lengths[row]:
                assert y[row, t] == 0
                continue
            value = (0.0 if reset[row, t] else value) + 1
            assert y[row, t] == value
        assert end[row] == value


def test_one_long_piece_does_not_pad_many_short_ones():
    reset = torch.zeros(2, 1024, dtype=torch.bool)
    reset[0, 512:] = True
    reset[1, 300:900:3] = True
    seen = []

    def run(x, state, sizes):
        seen.append((x.shape[:2], int(sizes.sum())))
        return x, state

    x = torch.randn(2, 1024, 1)
    y, _ = run_segments(
        run, x, torch.zeros(2, 1), torch.zeros(2, 1), lengths=torch.tensor([1024, 1000]),
        reset=reset,
    )  # fmt: skip
    assert torch.equal(y[0], x[0]) and torch.equal(y[1, :1000], x[1, :1000])
    assert sum(valid for _, valid in seen) == 2024
    assert sum(rows * steps for (rows, steps), _ in seen) < 2 * 2024
