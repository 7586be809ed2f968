"""Trend, season and residual against pandas, a loop and the laws they obey."""

import pytest
import torch
from forecast_peer import pandas_parts
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.decomposition import decompose, decompose_naive, decomposition_matrix

LENGTHS = (8, 37, 96, 97, 512)
WINDOWS = (1, 2, 3, 24, 25, 96, 97, 144, 192, "L")
SEASONS = (1, 2, 4, 12, 24, 48, 96, "L")


@pytest.mark.parametrize("time", LENGTHS)
def test_equals_pandas(time: int) -> None:
    x = torch.randn(2, time, generator=torch.Generator().manual_seed(time)).cumsum(1)
    for window in WINDOWS:
        for season in SEASONS:
            width, period = (time if size == "L" else int(size) for size in (window, season))
            if width > time:
                continue
            wanted = torch.from_numpy(pandas_parts(x.double().numpy(), width, period))
            torch.testing.assert_close(
                decompose(x.double(), width, period), wanted, rtol=0, atol=1e-10
            )
            torch.testing.assert_close(
                decompose(x, width, period).double(), wanted, rtol=0, atol=2e-5
            )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.data())
def test_equals_the_loop_and_sums_to_x(time: int, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, time))
    season = data.draw(st.integers(1, time + 3))
    x = torch.randn(2, time, dtype=torch.float64)
    parts = decompose(x, window, season)
    torch.testing.assert_close(parts, decompose_naive(x, window, season))
    torch.testing.assert_close(parts.sum(1), x)


def test_affine_law() -> None:
    """dec(a x + b) = a dec(x) + (b, 0, 0)."""
    x = torch.randn(3, 60, dtype=torch.float64)
    found = decompose(-2.5 * x + 7, 25, 12)
    wanted = -2.5 * decompose(x, 25, 12)
    wanted[:, 0] += 7
    torch.testing.assert_close(found, wanted)


def test_matrix_gives_the_same() -> None:
    x = torch.randn(4, 96)
    matrix = decomposition_matrix(96, 24, 12)
    torch.testing.assert_close(
        torch.einsum("pts,ns->npt", matrix, x), decompose(x, 24, 12), rtol=0, atol=2e-5
    )


def test_gradient() -> None:
    x = torch.randn(2, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: decompose(value, 4, 5), (x,))


@pytest.mark.parametrize(("window", "season"), [(0, 4), (9, 4), (3, 0)])
def test_sizes_that_do_not_fit(window: int, season: int) -> None:
    with pytest.raises(ValueError, match="trend_window|season"):
        decompose(torch.randn(1, 8), window, season)
