"""Shapes and types of our packages are checked while tests run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


JOIN = """
import os, sys, torch
from torch import distributed
rank, store, given, kept = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
given = torch.load(given, weights_only=False)
"""
# gloo's threads must be joined before the interpreter ends, or it aborts now and then.
LEAVE = """
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Any], list[Any]]:
    """Runs a script in two gloo processes; returns what each has saved.

    The script knows `rank`, `given` (what the test hands over) and `kept`, the file for torch.save.
    """

    def run(script: str, given: Any) -> list[Any]:
        import torch

        folder = tmp_path_factory.mktemp("processes")
        torch.save(given, folder / "given.pt")
        (folder / "script.py").write_text(JOIN + script + LEAVE)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        names = [folder / f"kept_{rank}.pt" for rank in range(2)]
        started = [
            subprocess.Popen(
                [sys.executable, str(folder / "script.py"), str(rank),
                 str(folder / "store"), str(folder / "given.pt"), str(names[rank])],
                env=environment, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(2)
        ]  # fmt: skip
        try:
            errors = [process.communicate(timeout=120)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        assert all(process.returncode == 0 for process in started), "\n".join(errors)
        return [torch.load(name, weights_only=False) for name in names]

    return run
