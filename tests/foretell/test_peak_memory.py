"""The peak follows what was taken since the last reset."""

from pathlib import Path

import numpy as np
import pytest

from foretell import peak_memory
from foretell.peak_memory import peak_mb, reset_peak


def test_peak_since_the_reset() -> None:
    if not reset_peak():
        pytest.skip("this system cannot reset the peak")
    before = peak_mb()
    taken = np.ones(8 << 20)  # 64 MiB
    assert 60 < peak_mb() - before < 80
    del taken
    assert peak_mb() - before > 60
    reset_peak()
    assert peak_mb() - before < 20


def test_a_system_without_reset_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak_memory, "_RESET", tmp_path / "none" / "clear_refs")
    assert not reset_peak()


@pytest.mark.parametrize("status", ["VmRSS:\t 100 kB\n", "VmHWM:\t 90000 kB\nVmRSS:\t 100 kB\n"])
def test_a_reset_without_effect_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str
) -> None:
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr(peak_memory, "_RESET", tmp_path / "clear_refs")
    monkeypatch.setattr(peak_memory, "_STATUS", tmp_path / "status")
    assert not reset_peak()
