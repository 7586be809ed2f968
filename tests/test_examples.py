"""The examples of docstrings and documentation pages do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if ">>> " in path.read_text())
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for package in ("foretell", "lidar", "graphs", "forecasting")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    done = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert done.attempted
    assert not done.failed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_examples(path):
    done = doctest.testfile(str(path), module_relative=False, optionflags=OPTIONS)
    assert done.attempted
    assert not done.failed
