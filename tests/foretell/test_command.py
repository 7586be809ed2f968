import logging
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Literal

import pytest

from foretell import command, presets
from foretell.command import parse
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory
from foretell.verbs import Verb


@dataclass(frozen=True)
class Rays:
    """Rays."""

    ground_filter: bool = True
    """Drop the ground."""
    horizons_s: list[float] = field(default_factory=list)
    """Seconds."""
    gap: Literal["auto", "on", "off"] = "auto"
    """A word that YAML takes for a boolean."""
    height_m: float | None = None
    """Metres."""
    pairs: list[float | list[float]] = field(default_factory=list)
    """Bins."""


@dataclass(frozen=True)
class Toy:
    """A toy."""

    model: str = ""
    """Folder."""
    rays: Rays = field(default_factory=Rays)


def read(*arguments, defaults=None):
    return parse("lidar", "toy", Toy, arguments, defaults)


@pytest.mark.parametrize(
    ("arguments", "name", "want"),
    [
        (["--rays.ground_filter", "off"], "ground_filter", False),
        (["--rays.ground_filter=no"], "ground_filter", False),
        (["--rays.ground_filter"], "ground_filter", True),
        (["--rays.horizons_s", "[0.1,0.3]"], "horizons_s", [0.1, 0.3]),
        (["--rays.horizons_s", "[1, 2]"], "horizons_s", [1.0, 2.0]),
        (["--rays.gap", "off"], "gap", "off"),
        (["--rays.height_m", "2e0"], "height_m", 2.0),
        (["--rays.height_m", "-1.5"], "height_m", -1.5),
        (["--rays.height_m", "none"], "height_m", None),
        (["--rays.pairs", "[1,[2,3]]"], "pairs", [1.0, [2.0, 3.0]]),
    ],
)
def test_flags(arguments, name, want):
    config, _, config_name = read(*arguments)
    assert getattr(config.rays, name) == want
    assert config_name == "default"


def test_options():
    _, options, _ = read("--seed", "3", "--quiet", "--out", "here", "--logger", "tensorboard")
    assert options == RunOptions(out="here", seed=3, quiet=True, logger="tensorboard")


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "preset_folder", lambda head: tmp_path)
    (tmp_path / "one.yaml").write_text("rays: {gap: off, height_m: 1}\n")
    (tmp_path / "two.yaml").write_text("rays: {height_m: 2}\n")
    (tmp_path / "bad.yaml").write_text("rays: {hight_m: 2}\n")
    return tmp_path


def test_presets_merge_last_wins_and_flags_win_over_all(shipped):
    config, _, name = read("--rays.height_m", "3", "--config", "one", "--config", "two")
    assert (config.rays.gap, config.rays.height_m, name) == ("off", 3.0, "two")
    config, _, _ = read("--config", str(shipped / "one.yaml"), "--config", "lidar/two")
    assert (config.rays.gap, config.rays.height_m) == ("off", 2.0)


def test_defaults_lie_under_files_and_flags(shipped):
    seen = []

    def defaults(flags):
        seen.append(flags)
        return {"rays": {"height_m": 9, "ground_filter": False}}

    config, _, _ = read("--config", "two", "--model", "m", defaults=defaults)
    assert (config.rays.height_m, config.rays.ground_filter) == (2.0, False)
    assert seen[0]["model"] == "m"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--rays.ground_filer", "on"], ["unknown flag --rays.ground_filer", "--rays.ground_filt"]),
        (["--rays.gap", "of"], ["--rays.gap = 'of'", "auto, on, off", "did you mean 'off'"]),
        (["--rays.height_m", "tall"], ["--rays.height_m = 'tall'", "a number or none"]),
        (["--rays.horizons_s", "[1,a]"], ["--rays.horizons_s", "list of (a number)"]),
        (["--rays.horizons_s", "[1"], ["--rays.horizons_s is not valid YAML"]),
        (["--model"], ["--model needs a value"]),
        (["--config", "tow"], ["no preset of that name", "did you mean 'two'"]),
        (["--config", "bad"], ["bad: unknown key 'rays.hight_m'", "did you mean 'height_m'"]),
        (["stray"], ["'stray' is not a flag"]),
        (["--seeds", "0"], ["--seeds must be at least 1"]),
        (["--rays", "my.yaml"], ["unknown flag --rays;", "did you mean '--rays."]),
        (["--zzzzzz", "1"], ["unknown flag --zzzzzz", "--help lists all"]),
    ],
)
def test_wrong_arguments_are_one_line(shipped, arguments, parts):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_seeds_are_refused_where_the_seed_has_no_effect(monkeypatch):
    ran = []
    toy = SimpleNamespace(Toy=Toy, run=lambda *given: ran.append(given))
    monkeypatch.setitem(sys.modules, "toy_verb", toy)
    verb = Verb("a toy", "toy_verb:Toy", "toy_verb:run", seeded=False)
    with pytest.raises(UserError, match=r"^foretell lidar toy: --seeds 2 would do the same"):
        command.run_verb("lidar", "toy", verb, ["--seeds", "2"])
    assert not ran


def test_a_mistaken_call_leaves_no_folder(monkeypatch, tmp_path):
    def refuse(config, options):
        raise UserError("no such data")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.os, "environ", {})
    monkeypatch.setattr(command, "_set_up_messages", lambda options: None)
    toy = SimpleNamespace(Toy=Toy, run=refuse)
    monkeypatch.setitem(sys.modules, "toy_verb", toy)
    verb = Verb("a toy", "toy_verb:Toy", "toy_verb:run")
    with pytest.raises(UserError, match="no such data"):
        command.run_verb("lidar", "toy", verb, [])
    assert not list(tmp_path.iterdir())
    toy.run = lambda config, options: RunDirectory.create("toy", config, options)
    command.run_verb("lidar", "toy", verb, [])
    (kept,) = (tmp_path / "runs/lidar-toy/default").glob("2*")
    toy.run = refuse
    with pytest.raises(UserError, match="no such data"):
        command.run_verb("lidar", "toy", verb, [])
    assert {path.name for path in kept.parent.iterdir()} == {kept.name, "latest"}
    assert (kept.parent / "latest" / "config.yaml").is_file()


def test_run_folder_by_default_and_on_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.os, "environ", {})
    first = command._with_folder(RunOptions(), "lidar-toy", "two").out
    assert first.startswith("runs/lidar-toy/two/2")
    again = command._with_folder(RunOptions(resume="auto"), "lidar-toy", "two").out
    assert (tmp_path / again).resolve() == (tmp_path / first).resolve()
    assert command._with_folder(RunOptions(out="x"), "lidar-toy", "two").out == "x"


def test_another_process_of_the_same_run_uses_the_first_ones_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.os, "environ", {"LOCAL_RANK": "1", "FORETELL_OUT": "runs/first"})
    assert command._with_folder(RunOptions(), "lidar-toy", "two").out == "runs/first"


def test_quiet_keeps_warnings_alone(capsys):
    names = ("foretell", "lidar", "graphs", "forecasting")
    before = {
        name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate)
        for name in names
    }
    try:
        command._set_up_messages(RunOptions(quiet=True))
        logging.getLogger("lidar.x").info("result")
        logging.getLogger("lidar.x").warning("careful")
        command._set_up_messages(RunOptions())
        logging.getLogger("lidar.x").info("result")
    finally:
        for name, (handlers, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(logging.NOTSET)
    told = capsys.readouterr()
    assert told.out == "result\n" and told.err == "foretell: WARNING: careful\n"
