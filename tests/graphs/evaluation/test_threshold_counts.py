import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphs.evaluation import threshold_counts
from graphs.evaluation.threshold_counts import ThresholdCounts

TINY = 1.1754943508222875e-38
# No subnormal numbers: libraries that tests load may make the processor take them for 0.
FLOATS = st.floats(width=32, allow_nan=False, allow_subnormal=False) | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 1.0000001192092896, TINY, -TINY, np.inf, -np.inf]
)


def by_definition(scores: np.ndarray, thresholds: np.ndarray) -> list[int]:
    return [int(np.count_nonzero(scores >= threshold)) for threshold in thresholds]


@given(
    scores=arrays(np.float32, st.integers(0, 60), elements=FLOATS),
    wanted=arrays(np.float32, st.integers(1, 12), elements=FLOATS),
    num_scores=st.sampled_from([1, 5000, 1 << 24]),
)
@settings(max_examples=100, deadline=None)
def test_counts_of_any_floats(scores: np.ndarray, wanted: np.ndarray, num_scores: int) -> None:
    """With and without the table of buckets, signed zeros and infinities included."""
    counts = ThresholdCounts(wanted, num_scores=num_scores)
    assert np.array_equal(counts.thresholds, np.unique(wanted))
    counts.add(scores)
    counts.add(scores[::-1])
    assert counts.at_least().tolist() == [2 * n for n in by_definition(scores, counts.thresholds)]


@pytest.mark.parametrize("levels", [3, 40, 100_000])
def test_chunks_and_heavy_ties(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold_counts, "_CHUNK", 700)
    rng = np.random.default_rng(levels)
    scores = (rng.integers(-levels, levels, 50_000) / 7).astype(np.float32)
    counts = ThresholdCounts(rng.choice(scores, 300), num_scores=len(scores))
    counts.add(scores)
    assert counts.at_least().tolist() == by_definition(scores, counts.thresholds)


def test_no_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="thresholds must not be empty"):
        ThresholdCounts(np.empty(0, np.float32), num_scores=10)
