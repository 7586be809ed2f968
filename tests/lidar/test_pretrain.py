"""`foretell lidar pretrain`: what a run leaves behind, kills and restarts, two processes."""

import csv
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from foretell.cli import main
from foretell.errors import UserError
from foretell.history import read_history
from foretell.run import check_metrics
from lidar.config import CurriculumConfig, LossConfig
from lidar.doctor import CONFIG, made_up_batch
from lidar.export import read_backbone
from lidar.pretrain import learning_rate_factor, parameter_groups, stage_starts, unused_modules
from lidar.trend import Trend

STEPS_PER_EPOCH, EPOCHS = 3, 3


def words(street_root, tiny_yaml, out):
    """A pretraining of nine steps without validation."""
    return ["lidar", "pretrain", "--config", tiny_yaml, "--data.root", street_root, "--out", out,
            "--eval.select_windows", 1, "--eval.recalibrate_windows", 1]  # fmt: skip


def losses(run):
    return [(row["step"], row["train/loss"]) for row in read_history(run / "metrics.csv")]


def test_the_run_folder_holds_model_metrics_and_curves(pretrained):
    metrics = json.loads((pretrained / "metrics.json").read_text())
    check_metrics(metrics)
    assert {"val/model/loss", "val/model/t0_range_l1", "val/model/tm_range_l1"} <= metrics.keys()
    with (pretrained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = [row for row in rows if row["train/loss"]]
    assert len(steps) == STEPS_PER_EPOCH * EPOCHS
    assert float(steps[-1]["train/loss"]) < float(steps[0]["train/loss"])
    with Image.open(pretrained / "figures" / "training_curves.png") as image:
        assert image.width > 300
    model = pretrained / "model"
    copy_last = json.loads((model / "config.json").read_text())["config"]["copy_last"]
    assert {"l1_m", "l1_median_m", "absrel_pct", "cd_m2", "nfcd_m2"} <= copy_last.keys()
    assert all(variant.startswith("copy_last_") for variant in copy_last.values())
    assert "No labels were used" in (model / "README.md").read_text()
    assert Trend.from_pretrained(model).config.copy_last == copy_last
    assert (pretrained / "checkpoints" / "last.ckpt").is_file()
    assert json.loads((pretrained / "env.json").read_text())["seed"] == 0


def test_pretraining_needs_no_annotations(tmp_path, foretell, street_writer, tiny_yaml, pretrained):
    """T12: the same losses with and without boxes."""
    street_writer(tmp_path / "data" / "first", boxes=False)
    answer = foretell(*words(tmp_path / "data", tiny_yaml, tmp_path / "run"), "--quiet",
                      "--data.splits", "[first]")  # fmt: skip
    assert answer.code == 0, answer.err
    with_boxes = [row for row in losses_with_nan(pretrained) if row[1] == row[1]]
    assert losses(tmp_path / "run") == with_boxes


def losses_with_nan(run):
    nothing = float("nan")
    return [(r["step"], r.get("train/loss", nothing)) for r in read_history(run / "metrics.csv")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, street_root, tiny_yaml):
    """Folder of a run that nothing interrupts."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert main([str(w) for w in (*words(street_root, tiny_yaml, out), "--quiet")]) == 0
    return out


def start_until(foretell_process, arguments, file):
    """Start a run that keeps a checkpoint a step, and wait for one."""
    process = foretell_process(*arguments, "--trainer.checkpoint_every_n_steps", 1, "--quiet")
    deadline = time.monotonic() + 120
    while not file.is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the run ended before {file.name}: {process.communicate()[1]}")
        time.sleep(0.002)
    return process


@pytest.fixture(scope="module")
def killed(tmp_path_factory, foretell_process, street_root, tiny_yaml):
    """Folder of a run that SIGKILL ended in its second epoch."""
    out = tmp_path_factory.mktemp("killed") / "run"
    process = start_until(
        foretell_process,
        words(street_root, tiny_yaml, out),
        out / "checkpoints" / "step_00000004.ckpt",
    )
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "model").exists()
    return out


# What the kill left: anywhere; mid-epoch; after an epoch's last step; after its last.ckpt.
@pytest.mark.parametrize(
    "left",
    [
        "all",
        "step_00000002.ckpt",
        pytest.param("step_00000003.ckpt", marks=pytest.mark.slow),
        "last.ckpt",
    ],
)
def test_t22_a_killed_run_resumes_as_if_unbroken(
    tmp_path, foretell, street_root, tiny_yaml, killed, unbroken, left
):
    out = Path(shutil.copytree(killed, tmp_path / "run"))
    for path in (out / "checkpoints").iterdir():
        if left != "all" and path.name != left:
            path.unlink()
    answer = foretell(*words(street_root, tiny_yaml, out), "--quiet", "--resume", "auto")
    assert answer.code == 0, answer.err
    check_same_run(out, unbroken)


def check_same_run(out, unbroken):
    assert losses(out) == losses(unbroken)
    assert len(losses(out)) == STEPS_PER_EPOCH * EPOCHS
    for name in ("model.safetensors", "unmasked_norms.safetensors"):
        ours, theirs = load_file(out / "model" / name), load_file(unbroken / "model" / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.slow
def test_t22_sigterm_saves_and_says_how_to_go_on(
    tmp_path, foretell, foretell_process, street_root, tiny_yaml, unbroken
):
    out = tmp_path / "run"
    arguments = words(street_root, tiny_yaml, out)
    process = start_until(foretell_process, arguments, out / "checkpoints" / "step_00000002.ckpt")
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == (
        "foretell: stopped by SIGTERM; training continues with --resume auto"
    )
    assert "Traceback" not in errors
    answer = foretell(*arguments, "--quiet", "--resume", "auto")
    assert answer.code == 0, answer.err
    check_same_run(out, unbroken)


CHANGED = """
import sys
from torch.nn.modules.batchnorm import _BatchNorm
from foretell.cli import main
from lidar.pretrain import PretrainModule

class Changed(PretrainModule):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        for name, module in self.model.named_modules():
            norm = isinstance(module, _BatchNorm)
            {change}

import lidar.pretrain
lidar.pretrain.PretrainModule = Changed
sys.exit(main())
"""
CHANGES = {
    "frozen": "if norm: module.eval()",
    # A live norm removes the bias before it: its gradient is rounding, which Adam would blow up.
    "live": """if not norm and (name.startswith("encoder.") or name == "recurrence.conv1"):
                for parameter, value in module.named_parameters(recurse=False):
                    value.requires_grad_(value.requires_grad and parameter != "bias")""",
}


@pytest.mark.slow
@pytest.mark.parametrize("norms", CHANGES)
def test_t23_two_processes_train_what_one_trains(tmp_path, street_root, tiny_yaml, norms):
    script = tmp_path / "train.py"
    script.write_text(CHANGED.format(change=CHANGES[norms]))
    runs = {
        "one": ["--data.batch_size", 2],
        "two": ["--data.batch_size", 1, "--trainer.devices", 2, "--trainer.strategy", "ddp"],
    }
    for name, flags in runs.items():
        given = [*words(street_root, tiny_yaml, tmp_path / name), *flags, "--trainer.max_steps", 6]
        done = subprocess.run(
            [sys.executable, str(script), *map(str, given)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    one, two = (read_history(tmp_path / name / "metrics.csv") for name in runs)
    assert len(one) == len(two) == 6
    for ours, theirs in zip(one, two, strict=True):
        for name in ("train/loss", "train/t0_range_l1", "train/tm_range_l1"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), (name, ours["step"])
    for file in ("model.safetensors", "unmasked_norms.safetensors"):
        ours, theirs = (load_file(tmp_path / name / "model" / file) for name in runs)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("intensity", [True, False])
def test_only_what_a_loss_reaches_is_trained(intensity):
    model = Trend(dataclasses.replace(CONFIG, loss=LossConfig(intensity=intensity)))
    model.losses(made_up_batch()).total.backward()
    unused = {p for module in unused_modules(model) for p in module.parameters()}
    assert unused == {p for p in model.parameters() if p.grad is None}


def test_weight_decay_spares_norms_biases_and_sharpness():
    model = Trend(CONFIG)
    decayed, kept = parameter_groups(model, 0.01)
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))
    assert all(p.ndim > 1 for p in decayed["params"]) and kept["weight_decay"] == 0
    assert any(p is model.decoder.log_sharpness for p in kept["params"])


def test_scratch_keeps_the_initialised_model(tmp_path, foretell, street_root, tiny_yaml):
    """`ablation.level` scratch: nothing is trained; export and forecast take it all the same."""
    out = tmp_path / "run"
    answer = foretell(*words(street_root, tiny_yaml, out), "--ablation.level", "scratch",
                      "--seed", 3)  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == (
        f"{out}/metrics.json is empty: it keeps validation losses, and data.val_splits is empty"
    )
    assert (out / "metrics.json").read_text() == "{}\n"
    assert not (out / "checkpoints").exists() and not (out / "metrics.csv").exists()
    config = Trend.from_pretrained(out / "model").config
    torch.manual_seed(3)
    fresh = Trend(config).state_dict()
    kept = load_file(out / "model" / "model.safetensors")
    assert fresh.keys() == kept.keys()
    assert all(torch.equal(fresh[key], kept[key]) for key in fresh)
    assert "not trained: weights as initialised" in (out / "model" / "README.md").read_text()
    answer = foretell("lidar", "export", "--model", out / "model", "--out", tmp_path / "b.pth")
    assert answer.code == 0, answer.err
    _, status = read_backbone(tmp_path / "b.pth")
    assert set(status.values()) == {"initial"}
    answer = foretell("lidar", "forecast", "--model", out / "model", "--figures", 0,
                      "--out", tmp_path / "scored", "--quiet")  # fmt: skip
    assert answer.code == 0 and "was never trained (ablation.level scratch)" in answer.err
    metrics = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert metrics["forecast/model/all/mean/l1_m"] > metrics["forecast/copy_last/all/mean/l1_m"]
    assert not any("/zero_action/" in key for key in metrics)


def test_training_starts_from_a_saved_model(tmp_path, foretell, street_root, tiny_yaml, pretrained):
    model = pretrained / "model"
    kept = load_file(model / "model.safetensors")
    command = [*words(street_root, tiny_yaml, tmp_path / "run"), "--init", model, "--seed", 5]
    answer = foretell(*command, "--ablation.level", "full", "--trainer.max_steps", 1,
                      "--optim.lr", 1e-9, "--optim.warmup_iters", 0)  # fmt: skip
    assert answer.code == 0, answer.err
    assert f"initial weights of {model}: {len(kept)} matched, 0 missing" in answer.out
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    learned = [name for name, _ in Trend.from_pretrained(model).named_parameters()]
    for name in learned:
        torch.testing.assert_close(trained[name], kept[name], rtol=0, atol=1e-6)
    answer = foretell(*command, "--encoder.channels", "[4, 4, 4, 4]", "--out", tmp_path / "other")
    assert answer.code == 2 and "does not fit the model" in answer.err
    assert f"give the model the values of {model / 'config.json'}" in answer.err
    answer = foretell(*command, "--init", tmp_path, "--out", tmp_path / "third")
    assert answer.code == 2 and "no model in" in answer.err


def test_stages_begin_at_their_epochs_however_long_the_run():
    curriculum = CurriculumConfig(stages=[[1, 12], [2, 12], [3, 24]])
    assert stage_starts(curriculum, 100) == [1200, 2400]
    assert stage_starts(dataclasses.replace(curriculum, enabled=False), 100) == []
    assert stage_starts(CurriculumConfig(stages=[[1, 5]]), 100) == []


@pytest.mark.parametrize(
    ("trainer", "enabled", "restarts"),
    [({}, True, [3]), ({"max_epochs": 5}, True, [3]), ({"max_steps": 3}, True, []),
     ({"accumulate_grad_batches": 2}, True, [2]), ({}, False, [])],
)  # fmt: skip
def test_the_cosine_restarts_where_a_stage_begins(
    monkeypatch, tmp_path, foretell, street_root, tiny_yaml, trainer, enabled, restarts
):
    """Three batches an epoch; the second stage begins with the second epoch."""
    seen = []

    def spy(step, total, warmup, starts):
        seen.append(starts)
        raise UserError("seen")

    monkeypatch.setattr("lidar.pretrain.learning_rate_factor", spy)
    flags = [word for key, value in trainer.items() for word in (f"--trainer.{key}", value)]
    answer = foretell(*words(street_root, tiny_yaml, tmp_path / "run"), "--quiet", *flags,
                      "--optim.restart", "true", "--optim.warmup_iters", 1,
                      "--curriculum.enabled", str(enabled).lower())  # fmt: skip
    assert answer.code == 2 and seen == [restarts], answer.err


def test_learning_rate_warms_up_and_falls_once_or_in_each_stage():
    def curve(restarts):
        return [learning_rate_factor(step, 100, 10, restarts) for step in range(101)]

    once, twice = curve([]), curve([40])
    assert once[0] == pytest.approx(0.1) and once[9] == once[10] == 1
    assert once[10:] == sorted(once[10:], reverse=True) and once[100] == pytest.approx(0)
    assert twice[39] < 0.01 and twice[40] == 1 and twice[100] == pytest.approx(0)
