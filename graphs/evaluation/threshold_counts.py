"""How many scores reach each of many thresholds, without sorting the scores.

A bucket of the ordered float range that holds no threshold settles all its scores at once; the few
scores in the other buckets are found by bisection. Exact, ties included.
"""

import numpy as np
from jaxtyping import Float32, Int, UInt32
from numpy import ndarray

_CHUNK = 1 << 17
"""Scores at a time: what is made of them stays in the second-level cache."""
_MAX_BUCKET_BITS = 20
_FEW = 1 << 12
"""Scores below which a table of buckets costs more than it saves."""


class ThresholdCounts:
    """Counts of scores >= each threshold, gathered over blocks.

    Args:
        thresholds: No NaN; repeated ones count once.
        num_scores: About how many scores will come; sets the size of the table.

    Raises:
        ValueError: There is no threshold.
    """

    def __init__(self, thresholds: Float32[ndarray, " all"], *, num_scores: int) -> None:
        if not len(thresholds):
            raise ValueError("thresholds must not be empty")
        self.thresholds = np.unique(thresholds + np.float32(0))  # -0 becomes 0
        self._reaching_lowest = 0
        num = len(self.thresholds)
        # Entry i: scores that reach i thresholds. Entry num + 1: those in a mixed bucket.
        self._reaching = np.zeros(num + 2, np.int64)
        bits = min(_MAX_BUCKET_BITS, num_scores.bit_length() - 2)
        self._table: ndarray | None = None
        if num_scores >= _FEW:
            key = _ordered_key(self.thresholds)
            self._lowest, self._highest = key[0], key[-1]
            span = int(self._highest) - int(self._lowest)
            self._shift = np.uint32(max(0, span.bit_length() - bits))
            bucket = ((key - self._lowest) >> self._shift).astype(np.int64)
            table = np.searchsorted(bucket, np.arange(bucket[-1] + 1), side="right")
            table[bucket] = num + 1
            self._table = table.astype(np.int32)

    def add(self, scores: Float32[ndarray, " scores"]) -> None:
        """Count more scores; NaN is not looked for."""
        for start in range(0, len(scores), _CHUNK):
            self._add(scores[start : start + _CHUNK])

    def at_least(self) -> Int[ndarray, " thresholds"]:
        """Scores >= each of `thresholds` (distinct, ascending) so far."""
        counts: ndarray = np.cumsum(self._reaching[:-1][::-1])[::-1][1:]
        counts[0] = self._reaching_lowest
        return counts

    def _add(self, scores: Float32[ndarray, " scores"]) -> None:
        # Scores at the lowest threshold are often most of all (zeros of a count): never bisected.
        lowest, num = self.thresholds[0], len(self.thresholds)
        above = scores > lowest
        self._reaching_lowest += int(np.count_nonzero(scores >= lowest))
        scores = scores[above]
        if self._table is not None:
            key = _ordered_key(scores + np.float32(0))
            np.minimum(key, self._highest, out=key)
            key -= self._lowest
            key >>= self._shift
            reached = self._table.take(key)
            self._reaching += np.bincount(reached, minlength=num + 2)
            scores = scores[reached == num + 1]
        reached = np.searchsorted(self.thresholds, scores, side="right")
        self._reaching[:-1] += np.bincount(reached, minlength=num + 1)


def _ordered_key(scores: Float32[ndarray, " scores"]) -> UInt32[ndarray, " scores"]:
    """Bits of floats as integers in the same order; negative floats run backwards in memory."""
    bits = scores.view(np.int32)
    flip = (bits >> 31) | np.int32(-(2**31))
    return np.asarray((bits ^ flip).view(np.uint32))
