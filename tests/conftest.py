"""Shapes and types of our packages are checked while tests run."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Two torch threads on two busy cores spin: minutes instead of seconds. Read when torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
install_import_hook(["foretell", "lidar", "graphs", "forecasting"], "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of recorded data, from FORETELL_TEST_DATA; the test is skipped without it."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("FORETELL_TEST_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}; set FORETELL_TEST_DATA")
    return folder
