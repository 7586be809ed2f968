"""The scripts that a fresh machine runs."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_ci_fails_without_recorded_data(tmp_path):
    environment = {**os.environ, "FORETELL_TEST_DATA": str(tmp_path / "absent")}
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert str(tmp_path / "absent") in done.stderr


def test_every_pip_call_is_constrained():
    for name in ("Makefile", ".ci/run", "README.md"):
        for line in (ROOT / name).read_text().splitlines():
            if "pip install" in line or "$(PIP) install" in line:
                assert "-c constraints.txt" in line, f"{name}: {line}"


def test_constraints_pin_published_versions():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, equals, version = line.partition("==")
        assert name and equals and "+" not in version and "@" not in line, line


def test_every_folder_is_a_package():
    """import-linter overlooks a folder without __init__.py, and with it all its imports."""
    folders = {
        path.parent
        for package in ("foretell", "lidar", "graphs", "forecasting")
        for path in (ROOT / package).rglob("*.py")
    }
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
