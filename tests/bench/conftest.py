"""The benchmarks are scripts that import each other by the name of the file."""

import contextlib
import importlib
import io
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Run a script in this process, its fresh processes and compilations included."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("FORETELL_TEST_DATA", raising=False)

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        return printed.getvalue()

    def child(script, *arguments):
        return json.loads(run(Path(script).name, "--child", *arguments).splitlines()[-1])

    monkeypatch.setattr(importlib.import_module("timing"), "in_fresh_process", child)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def run_all(bench):
    """What run_all.py defines."""
    return runpy.run_path(str(FOLDER / "run_all.py"))
