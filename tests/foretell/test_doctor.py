import pytest

from foretell import doctor
from foretell.errors import UserError


@pytest.fixture
def light(monkeypatch):
    """The report without importing every optional package."""
    monkeypatch.setattr(doctor, "OPTIONAL", {"no_such_package": "lidar"})


def test_report_lists_versions_and_what_is_missing(light, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "heads", dict)
    doctor.run_doctor([])
    text = capsys.readouterr().out
    assert "torch" in text and "cpu" in text
    assert "no_such_package  not installed (optional): pip install 'foretell[lidar]'" in text


def test_a_missing_core_package_is_a_problem(light, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CORE", ("no_such_core",))
    with pytest.raises(UserError, match="1 problems: no_such_core is not installed"):
        doctor.run_doctor([])


def test_a_failing_head_is_a_problem(light, monkeypatch, capsys, tmp_path):
    package = tmp_path / "broken_head"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "doctor.py").write_text("def tiny_step():\n    raise ValueError('bad\\nnews')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "HEADS", {"broken": ("broken_head.cli", "")})
    monkeypatch.setattr(doctor, "heads", lambda: {"broken": ""})
    with pytest.raises(UserError, match="tiny step of broken failed: bad"):
        doctor.run_doctor([])
    assert "broken step" in capsys.readouterr().out


def test_shadowing_packages_are_named(tmp_path):
    (tmp_path / "lidar").mkdir()
    (tmp_path / "lidar" / "__init__.py").write_text("")
    (tmp_path / "graphs.py").write_text("")
    assert doctor.shadows([str(tmp_path)]) == {
        "lidar": [tmp_path / "lidar" / "__init__.py"],
        "graphs": [tmp_path / "graphs.py"],
    }
    root = str(doctor.Path(doctor.foretell.__file__).parents[1])
    assert doctor.shadows([root]) == {}


def test_arguments_are_refused():
    with pytest.raises(UserError, match="takes no arguments"):
        doctor.run_doctor(["--now"])
