"""Recorded graphs, and files with given lines."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded(test_data) -> Path:
    """Folder of the recorded graphs in their original formats."""
    folder = test_data / "graphs"
    if not folder.is_dir():
        pytest.skip(f"no recorded graphs in {folder}")
    return folder


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes lines, or bytes as they are, into a file of tmp_path and returns its path."""

    def put(name: str, *lines: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = [line.encode() if isinstance(line, str) else line for line in lines]
        path.write_bytes(b"".join(line + b"\n" for line in raw))
        return path

    return put
