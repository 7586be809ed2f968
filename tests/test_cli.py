"""The command from outside: exit codes, one-line errors, what it lists, what it imports."""

import importlib.util
import subprocess
import sys

import pytest

from foretell import __version__, cli
from foretell.errors import UserError
from foretell.presets import preset_names, read_config
from foretell.verbs import load

HEAVY = ("torch", "numpy", "lightning", "jsonargparse", "yaml", "matplotlib", "open3d", "pandas")


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a fresh process after a statement."""
    script = f"import sys\n{statement}\nprint('MODULES', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    return {name.partition(".")[0] for name in line.split()[1:]}


def error_of(capsys, *words: str) -> str:
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["lidar", "--help"]])
def test_listing_imports_nothing_heavy(words):
    loaded = modules_after(f"from foretell.cli import main; main({words!r})")
    assert not loaded & set(HEAVY)


def test_help_of_every_verb_leaves_torch_and_numpy_out():
    for verb in cli.verbs("lidar"):
        loaded = modules_after(
            f"from foretell.cli import main; main(['lidar', {verb!r}, '--help'])"
        )
        assert not loaded & (set(HEAVY) - {"jsonargparse", "yaml"}), verb


def test_a_wrong_flag_is_told_before_anything_heavy_loads():
    loaded = modules_after("from foretell.cli import main; main(['lidar', 'pretrain', '--x', '1'])")
    assert not loaded & (set(HEAVY) - {"jsonargparse", "yaml"})


@pytest.mark.parametrize("module", ["lidar", "lidar.config", "foretell.config", "foretell.run"])
def test_configuration_leaves_torch_out(module):
    assert not modules_after(f"import {module}") & (set(HEAVY) - {"yaml"})


def test_heads_import_without_optional_packages():
    blocked = "sys.modules.update(dict.fromkeys(['open3d', 'nuscenes', 'lightning']))"
    modules_after(f"{blocked}\nimport lidar, lidar.config, lidar.cli, graphs, forecasting")


def test_version_and_overview(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"foretell {__version__}\n"
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for head in cli.heads():
        assert f"  {head} " in text
    assert "doctor" in text


def test_every_listed_verb_exists(capsys):
    for head in cli.heads():
        assert cli.main([head, "--help"]) == 0
        listed = capsys.readouterr().out
        for name, verb in cli.verbs(head).items():
            assert f"  {name} " in listed and verb.help in listed
            assert importlib.util.find_spec(verb.run.partition(":")[0]), verb.run
            load(verb.config)()


def test_help_shows_docstrings_defaults_and_presets(capsys):
    assert cli.main(["lidar", "pretrain", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--trainer.max_epochs" in text and "Lightning" in text
    assert "--seeds" in text and "presets: " in text
    assert "--data.splits [ITEM" in text and "--data.splits+" not in text  # which is refused
    assert "--trainer.devices+" not in text and "--data CONFIG" not in text


def test_every_preset_fits_a_verb():
    for head in cli.heads():
        for name in preset_names(head):
            values, place = read_config(name, head)
            errors = []
            for verb in cli.verbs(head).values():
                try:
                    from_preset(load(verb.config), values, place)
                except UserError as error:
                    errors.append(str(error))
            assert len(errors) < len(cli.verbs(head)), errors


def from_preset(kind, values, place):
    from foretell.config import from_dict

    return from_dict(kind, values, place=place)


def test_unknown_words_name_the_nearest(capsys):
    assert "did you mean 'lidar'" in error_of(capsys, "lider")
    assert "did you mean 'pretrain'" in error_of(capsys, "lidar", "pretrian")
    assert "--data.root" in error_of(capsys, "lidar", "pretrain", "--data.rot", "x")
    text = error_of(capsys, "lidar", "pretrain", "--data.kind", "kiti")
    assert "nuscenes, kitti, folder" in text and "did you mean 'kitti'" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("one\nline"), 2), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def fail(words):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main([]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_sigterm_after_the_checkpoint_exits_143(monkeypatch, capsys):
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    def stop(words):
        raise SIGTERMException

    monkeypatch.setattr(cli, "_dispatch", stop)
    assert cli.main([]) == 143
    assert "--resume auto" in capsys.readouterr().err


def test_value_errors_of_ours_are_one_line_and_others_keep_their_traceback(monkeypatch, capsys):
    from foretell.run import check_metrics

    monkeypatch.setattr(cli, "_dispatch", lambda words: check_metrics({"x": 1}))
    assert cli.main([]) == 2
    assert "must begin with one of" in capsys.readouterr().err
    monkeypatch.setattr(cli, "_dispatch", lambda words: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main([])


@pytest.mark.parametrize("verb", ["prepare", "forecast", "export", "view"])
def test_verbs_that_draw_nothing_refuse_several_seeds(capsys, verb):
    told = error_of(capsys, "lidar", verb, "--seeds", "3")
    assert f"foretell lidar {verb}: --seeds 3" in told


def test_help_names_the_presets_that_fit_the_verb(capsys):
    assert cli.main(["lidar", "simulate", "--help"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "sim_demo" in line and "trend_demo" not in line
