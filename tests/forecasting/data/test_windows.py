"""Windows gathered by index against slices."""

import pytest
import torch

from forecasting.data.windows import Windows


def test_equal_to_slices() -> None:
    values = torch.randn(40, 3)
    windows = Windows(values, range(12, 31), 8, 5)
    assert (len(windows), windows.num_channels) == (19, 3)
    x, y = windows.gather(torch.tensor([0, 7, 18]))
    for row, start in enumerate((12, 19, 30)):
        assert torch.equal(x[row], values[start - 8 : start])
        assert torch.equal(y[row], values[start : start + 5])
    one = windows[(3, 7)]
    assert torch.equal(one[0][0], x[1]) and torch.equal(one[1][0], y[1])


def test_folding_channels_copies_nothing() -> None:
    x, _ = Windows(torch.randn(40, 3), range(8, 20), 8, 5).gather(torch.arange(4))
    folded = x.transpose(1, 2)
    assert folded.flatten(0, 1).data_ptr() == x.data_ptr()


def test_batches_hold_every_window_once() -> None:
    windows = Windows(torch.arange(30.0)[:, None], range(4, 27), 4, 3)
    firsts = torch.cat([y[:, 0, 0] for _, y in windows.batches(7)])
    assert firsts.tolist() == [float(start) for start in range(4, 27)]


def test_values_behind_a_window_do_not_reach_it() -> None:
    values = torch.randn(40, 2)
    changed = values.clone()
    changed[20:] = torch.nan
    x, _ = Windows(values, range(8, 31), 8, 5).gather(torch.tensor([12]))
    again, _ = Windows(changed, range(8, 31), 8, 5).gather(torch.tensor([12]))
    assert torch.equal(x, again)


def test_windows_that_leave_the_table() -> None:
    with pytest.raises(ValueError, match="leave a table of 40 rows"):
        Windows(torch.randn(40, 1), range(7, 20), 8, 5)
    with pytest.raises(ValueError, match="leave a table of 40 rows"):
        Windows(torch.randn(40, 1), range(8, 37), 8, 5)


def test_evenly_spaced_windows() -> None:
    values = torch.arange(40.0)[:, None]
    whole = Windows(values, range(4, 37), 4, 3)
    few = whole.spaced(5)
    assert few.starts.tolist() == [4, 12, 20, 28, 36] and len(whole) == 33
    x, y = few.gather(torch.tensor([1]))
    assert x.flatten().tolist() == [8, 9, 10, 11] and y.flatten().tolist() == [12, 13, 14]
    assert whole.spaced(33) is whole
