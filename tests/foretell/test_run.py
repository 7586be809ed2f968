import json
import os
import subprocess
import sys
import textwrap

import pytest

from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import (
    RunDirectory,
    atomic_path,
    atomic_write,
    check_metrics,
    default_out,
    latest_out,
    newest_checkpoint,
)


def test_folder_holds_config_environment_and_metrics(tmp_path):
    options = RunOptions(out=str(tmp_path / "run"), seed=3)
    run = RunDirectory.create("lidar-pretrain", RunOptions(seed=5), options)
    assert "seed: 5" in (run.path / "config.yaml").read_text()
    environment = json.loads((run.path / "env.json").read_text())
    assert environment["seed"] == 3
    assert {"torch", "foretell"} <= environment["versions"].keys()
    assert run.read_metrics() == {}
    run.write_metrics({"forecast/copy_last/all/0.5s/l1_m": 0.25, "val/trend/nfcd_m2": float("nan")})
    assert run.read_metrics() == {
        "forecast/copy_last/all/0.5s/l1_m": 0.25,
        "val/trend/nfcd_m2": None,
    }


@pytest.mark.parametrize(
    "name",
    [
        "forecast/copy_last/nonground/0.5s/l1_m",
        "forecast/b/trend/absrel_pct",
        "val/trend/total",
        "forecast/trend/1.0s/n",
    ],
)
def test_names_that_fit_the_grammar(name):
    check_metrics({name: 1.0})


def test_test_metrics_come_with_mean_std_and_n():
    whole = {f"test/fixed/evolvegcn_o/mrr/{end}": 1.0 for end in ("mean", "std", "n")}
    check_metrics(whole)
    del whole["test/fixed/evolvegcn_o/mrr/std"]
    with pytest.raises(ValueError, match="needs 'test/fixed/evolvegcn_o/mrr/std'"):
        check_metrics(whole)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("train/trend/loss", "begin with one of"),
        ("forecast/l1_m", "<part>/<who>/<metric>"),
        ("forecast//l1_m", "empty part"),
        ("forecast/copy last/l1_m", "character"),
        ("forecast/trend/L1", "lower-case"),
        ("test/trend/l1_m", "must end in /mean"),
    ],
)
def test_names_that_break_the_grammar(name, rule):
    with pytest.raises(ValueError, match=rule):
        check_metrics({name: 1.0})


def test_a_metric_must_be_a_number(tmp_path):
    with pytest.raises(ValueError, match="must be a number"):
        RunDirectory(tmp_path).write_metrics({"val/a/b": "x"})


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_full_disk_leaves_the_old_file_and_says_one_line(tmp_path):
    atomic_write(tmp_path / "file", "old")
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from foretell.run import atomic_write
        from foretell.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            atomic_write(Path(sys.argv[1]), "x" * 100_000)
        except UserError as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "file")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "cannot write" in done.stdout and "unchanged" in done.stdout
    assert (tmp_path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_get_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        atomic_write(tmp_path / "file", b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_default_folder_and_latest_link(tmp_path):
    first = default_out("pretrain", "demo", root=tmp_path)
    second = default_out("pretrain", "demo", root=tmp_path)
    assert first != second and first.parent == tmp_path / "pretrain" / "demo"
    assert latest_out("pretrain", "demo", root=tmp_path) == second
    assert latest_out("pretrain", "other", root=tmp_path) is None


@pytest.mark.parametrize("inside", ["checkpoints", "seed_3/checkpoints"])
def test_a_run_that_failed_at_once_does_not_hide_the_one_to_resume(tmp_path, inside):
    trained = default_out("pretrain", "demo", root=tmp_path)
    (trained / inside).mkdir(parents=True)
    (trained / inside / "last.ckpt").write_text("")
    assert default_out("pretrain", "demo", root=tmp_path) != trained
    assert latest_out("pretrain", "demo", root=tmp_path) == trained


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the run folder"):
        RunDirectory(tmp_path / "file" / "run")


def test_resume_path(tmp_path, caplog):
    run = RunDirectory(tmp_path)
    caplog.set_level("INFO", logger="foretell.run")
    assert run.resume_path(RunOptions()) is None
    assert not caplog.messages
    assert run.resume_path(RunOptions(resume="auto")) is None
    assert caplog.messages == [f"no checkpoint in {tmp_path}: starting anew"]
    with pytest.raises(UserError, match="no checkpoint there"):
        run.resume_path(RunOptions(resume=str(tmp_path)))
    run.checkpoints.mkdir()
    for age, name in enumerate(["step_1.ckpt", "last.ckpt"]):
        (run.checkpoints / name).write_text("")
        os.utime(run.checkpoints / name, (age, age))
    last = run.checkpoints / "last.ckpt"
    assert run.resume_path(RunOptions(resume="auto")) == last
    assert run.resume_path(RunOptions(resume=str(tmp_path))) == last
    assert newest_checkpoint(run.checkpoints / "step_1.ckpt").name == "step_1.ckpt"
