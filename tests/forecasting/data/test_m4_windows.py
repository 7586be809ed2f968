"""Windows near the end of series: what they hold, what they never reach."""

import numpy as np
import pytest
import torch

from forecasting.data.m4_windows import RandomCuts, SeriesCuts, as_windows, cut_gram

LONG, SHORT = np.arange(1.0, 31.0), np.array([4.0, -2.0, 6.0])


def _cuts(*series: np.ndarray, scaling: str = "none", season: int = 2) -> SeriesCuts:
    return SeriesCuts(series, 5, 3, scaling=scaling, season=season)


def test_zeros_on_the_left_and_nan_on_the_right() -> None:
    cut = _cuts(LONG, SHORT).gather(torch.tensor([1, 0, 0]), torch.tensor([2, 10, 29]))
    assert cut.x[..., 0].tolist() == [[0, 0, 0, 4, -2], [6, 7, 8, 9, 10], [25, 26, 27, 28, 29]]
    assert cut.y[1, :, 0].tolist() == [11, 12, 13]
    assert cut.y[0, 0, 0] == 6 and cut.y[2, 0, 0] == 30
    assert cut.y[0, 1:].isnan().all() and cut.y[2, 1:].isnan().all()


def test_scales_know_the_context_alone() -> None:
    series, at = torch.tensor([1, 0]), torch.tensor([2, 10])
    by_size = _cuts(LONG, SHORT, scaling="size").gather(series, at)
    assert by_size.scale.flatten().tolist() == [3.0, 8.0]  # zeros on the left do not count
    assert by_size.x[0, :, 0].tolist() == pytest.approx([0, 0, 0, 4 / 3, -2 / 3])
    assert by_size.y[0, 0, 0].item() == pytest.approx(2.0)
    by_season = _cuts(LONG, SHORT, scaling="season").gather(series, at)
    # two known values have no change over a season of two: their size stands in
    assert by_season.scale.flatten().tolist() == [3.0, 2.0]
    flat = _cuts(np.full(9, 7.0), np.zeros(9), scaling="season").last(0)
    assert flat.scale.flatten().tolist() == pytest.approx([0.007, 0.001])
    assert flat.x[1].abs().sum() == 0


def test_places_outside_are_refused() -> None:
    for place in (0, 4):
        with pytest.raises(ValueError, match="a window begins after the first"):
            _cuts(SHORT).gather(torch.tensor([0]), torch.tensor([place]))


def test_random_cuts_stay_in_the_history_and_are_drawn_anew() -> None:
    windows = RandomCuts(_cuts(LONG, SHORT), history=2, per_series=40, seed=3)
    assert len(windows) == 80
    keys = [(0, place) for place in range(80)]
    x, y = windows.__getitems__(keys)
    first = y[0::2, 0, 0]  # of the long series, whose value at place p is p + 1
    assert set(first.tolist()) == {25.0, 26.0, 27.0, 28.0, 29.0, 30.0}
    assert set(y[1::2, 0, 0].tolist()) == {-2.0, 6.0}  # never the first value
    again, _ = windows.__getitems__(keys)
    other, _ = windows.__getitems__([(1, place) for place in range(80)])
    assert torch.equal(x, again) and not torch.equal(x, other)
    # A window depends on seed, epoch and number, not on the batch that asks for it.
    mixed, _ = windows.__getitems__([(1, 6), (0, 6)])
    assert torch.equal(mixed[0], other[6]) and torch.equal(mixed[1], x[6])
    unlike = RandomCuts(_cuts(LONG, SHORT), history=2, per_series=40, seed=4)
    assert not torch.equal(unlike.__getitems__(keys)[0], x)


def test_windows_to_score_are_the_same() -> None:
    cut = _cuts(LONG, LONG * 2).last(3)
    windows = as_windows(cut)
    x, y = windows.gather(torch.arange(2))
    assert torch.equal(x, cut.x) and torch.equal(y, cut.y)
    assert y[..., 0].tolist() == [[28, 29, 30], [56, 58, 60]]


def test_gram_is_that_of_the_stacked_windows() -> None:
    cuts = _cuts(np.random.default_rng(0).normal(size=40), LONG, SHORT, scaling="size")
    places = [(0, at) for at in range(22, 38)] + [(1, at) for at in range(12, 28)]
    cut = cuts.gather(*(torch.tensor(column) for column in zip(*places, strict=True)))
    stacked = torch.cat([cut.x, cut.y], 1)[..., 0].double().numpy()
    np.testing.assert_allclose(cut_gram(cuts, 6), stacked.T @ stacked, rtol=1e-12)
