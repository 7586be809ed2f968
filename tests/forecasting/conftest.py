"""The paths to `tiny_models`, which several tests share, and to the benchmarks' `forecast_peer`; a
cache of anchors for each test."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BENCH = HERE.parents[1] / "tools" / "bench"
sys.path += [str(folder) for folder in (HERE, BENCH) if str(folder) not in sys.path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "foretell"
