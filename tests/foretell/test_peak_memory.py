"""The peak follows what was taken since the last reset."""

import sys

import numpy as np
import pytest

from foretell.peak_memory import peak_mb, reset_peak


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is reset through /proc")
def test_peak_since_the_reset() -> None:
    reset_peak()
    before = peak_mb()
    taken = np.ones(8 << 20)  # 64 MiB
    assert 60 < peak_mb() - before < 80
    del taken
    assert peak_mb() - before > 60
    reset_peak()
    assert peak_mb() - before < 20
