"""Streams that must not fill memory; the path to `mixer_cases`, which several tests share."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils import _pytree

from foretell.blocks.protocol import state_numel

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
STATM = Path("/proc/self/statm")
MAX_RISE = 2 * 2**20


def _resident_bytes() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def constant_memory() -> Callable[..., Any]:
    """Advances a state again and again: neither it nor the process grows, and no graph is kept."""
    if not STATM.exists():
        pytest.skip(f"reads {STATM}")

    def run(advance: Callable[[Any], Any], state: Any, times: int, *, warm: int) -> Any:
        for _ in range(warm):  # until caches and arenas are filled
            state = advance(state)
        size, before = state_numel(state), _resident_bytes()
        for _ in range(times - warm):
            state = advance(state)
        rise = _resident_bytes() - before
        assert rise < MAX_RISE, f"resident memory rose by {rise} bytes"
        assert state_numel(state) == size
        assert not any(tensor.requires_grad for tensor in _pytree.tree_leaves(state))
        return state

    return run
