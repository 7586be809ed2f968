"""The built wheel in an empty environment, away from the checkout."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Folder of scripts of an environment that holds our wheel.

    The dependencies are those of the environment that runs the tests, added to its path; its own
    editable install is not seen, since a path file's folder brings no path files along.
    """
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("foretell-*.whl")
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / "bin"
    pip = [scripts / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


@pytest.mark.slow
def test_wheel_has_presets_types_and_licence(installed):
    (site,) = installed.parent.glob("lib/python*/site-packages")
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    for preset in (ROOT / "configs").rglob("*.yaml"):
        assert f"foretell/configs/{preset.relative_to(ROOT / 'configs').as_posix()}" in names
    for package in ("foretell", "lidar", "graphs", "forecasting"):
        assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "tools/")) for name in names)


@pytest.mark.slow
def test_commands_work_outside_the_checkout(installed, tmp_path):
    assert run(installed / "foretell", "--version", cwd=tmp_path).startswith("foretell ")
    assert "trend_paper" in run(installed / "foretell", "lidar", "pretrain", "--help", cwd=tmp_path)
    where = run(installed / "python", "-c", "import lidar; print(lidar.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
def test_doctor_is_content(installed, tmp_path):
    report = run(installed / "foretell", "doctor", cwd=tmp_path)
    assert "lidar step" in report and "failed" not in report


@pytest.mark.slow
def test_doctor_names_a_package_that_shadows_ours(installed, tmp_path):
    (tmp_path / "lidar").mkdir()
    (tmp_path / "lidar" / "__init__.py").write_text("")
    done = subprocess.run(
        [str(installed / "python"), "-m", "foretell", "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert str(tmp_path / "lidar") in done.stderr
