import itertools
import signal
import subprocess
import sys
import time

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset

from foretell.checkpoints import Checkpoints
from foretell.config import RunOptions, TrainerConfig
from foretell.errors import UserError
from foretell.history import read_history
from foretell.loader import EpochSampler, ResumableLoader
from foretell.progress import Progress, clock
from foretell.run import RunDirectory
from foretell.trainer import build_trainer

BATCHES = 5


class Keyed(Dataset):
    """Samples drawn from (epoch, index)."""

    def __getitem__(self, key):
        epoch, index = key
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        return torch.randn(4, generator=generator)

    def __len__(self) -> int:
        return 2 * BATCHES


class Dropped(lightning.LightningModule):
    """A linear layer whose dropout uses the global generator."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def training_step(self, batch, batch_index):
        loss = (self.net(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        total = self.trainer.estimated_stepping_batches  # sets the loaders up before the resume
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StopAt(Callback):
    def __init__(self, batches):
        self.left = batches

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.left == 0:
            raise RuntimeError("killed")
        self.left -= 1


def train(out, *, resume="", stop_at=None, **config):
    config = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "log_every_n_steps": 1,
        "checkpoint_minutes": 0.0,
        **config,
    }
    options = RunOptions(out=str(out), quiet=True, resume=resume)
    run = RunDirectory(out)
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    trainer = build_trainer(TrainerConfig(**config), run, options, callbacks)
    module = Dropped()
    loader = ResumableLoader(Keyed(), EpochSampler(2 * BATCHES, 2))
    trainer.fit(module, loader, ckpt_path=run.resume_path(options))
    return module


def losses(out):
    return [(row["step"], row["train/loss"]) for row in read_history(out / "metrics.csv")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    return train(out), losses(out)


# 0 = killed before the first step; 5 and 10 = between two epochs.
@pytest.mark.parametrize("stop_at", [0, 3, 5, 7, 10, 14])
def test_resume_after_a_kill_repeats_the_unbroken_run(tmp_path, unbroken, stop_at):
    module, want = unbroken
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, stop_at=stop_at)
    resumed = train(tmp_path, resume="auto")
    assert losses(tmp_path) == want
    assert len(want) == 3 * BATCHES
    for name, value in module.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("stop_at", [2, 3, 4, 6])  # 3 and 6 = between two shortened epochs
def test_resume_where_epochs_are_shortened(tmp_path, stop_at):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    module = train(whole, limit_train_batches=3)
    with pytest.raises(RuntimeError, match="killed"):
        train(broken, stop_at=stop_at, limit_train_batches=3)
    resumed = train(broken, resume="auto", limit_train_batches=3)
    assert losses(broken) == losses(whole)
    assert len(losses(whole)) == 9
    for name, value in module.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_kill_right_after_a_checkpoint_loses_no_row(tmp_path, unbroken, monkeypatch):
    save = Checkpoints._save

    def save_and_die(self, trainer, name):
        save(self, trainer, name)
        if trainer.global_step == 3:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save", save_and_die)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path)
    assert losses(tmp_path) == unbroken[1][:3]
    train(tmp_path, resume="auto")
    assert losses(tmp_path) == unbroken[1]


def test_resume_where_gradients_are_accumulated(tmp_path):
    want = train(tmp_path / "a", accumulate_grad_batches=2)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "b", accumulate_grad_batches=2, stop_at=8)
    resumed = train(tmp_path / "b", accumulate_grad_batches=2, resume="auto")
    for name, value in want.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_finished_run_resumes_to_nothing(tmp_path, unbroken):
    train(tmp_path)
    train(tmp_path, resume="auto")
    assert losses(tmp_path) == unbroken[1]


def test_checkpoints_hold_plain_data_only(tmp_path):
    train(tmp_path, max_epochs=1, checkpoint_every_n_steps=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step_00000002.ckpt", "step_00000004.ckpt"]
    torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    train(tmp_path, max_epochs=1)
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot be read"):
        train(tmp_path, resume="auto")


def test_a_new_run_in_an_old_folder_starts_its_history_anew(tmp_path, unbroken):
    train(tmp_path, max_epochs=1)
    train(tmp_path)
    assert losses(tmp_path) == unbroken[1]


def test_a_new_run_in_an_old_folder_never_goes_on_from_the_old_checkpoint(tmp_path, unbroken):
    train(tmp_path, max_epochs=1)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, stop_at=1, checkpoint_minutes=60.0)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt.earlier"]
    train(tmp_path, resume="auto")
    assert losses(tmp_path) == unbroken[1]


def test_the_history_tells_how_long_the_loader_was_waited_for(tmp_path, monkeypatch):
    read = Keyed.__getitem__

    def slow(self, key):
        time.sleep(0.02)
        return read(self, key)

    monkeypatch.setattr(Keyed, "__getitem__", slow)
    train(tmp_path / "every", max_epochs=2)
    rows = read_history(tmp_path / "every" / "metrics.csv")
    assert len(rows) == 2 * BATCHES
    # Two samples a batch.
    assert all(0.04 <= row["train/data_s"] <= row["train/step_s"] < 5.0 for row in rows)
    train(tmp_path / "second", max_epochs=1, accumulate_grad_batches=2)
    rows = read_history(tmp_path / "second" / "metrics.csv")
    assert all(row["train/data_s"] >= 0.08 for row in rows[: BATCHES // 2])


def test_elapsed_seconds_add_up_over_the_pieces_of_a_run(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, stop_at=7)
    train(tmp_path, resume="auto")
    rows = read_history(tmp_path / "metrics.csv")
    sums = itertools.accumulate(row["train/step_s"] for row in rows)
    assert [row["train/elapsed_s"] for row in rows] == pytest.approx(list(sums), rel=1e-4)


def test_wrong_trainer_arguments_are_one_line(tmp_path):
    with pytest.raises(UserError, match="trainer: .*not_a_strategy"):
        build_trainer(
            TrainerConfig(strategy="not_a_strategy"), RunDirectory(tmp_path), RunOptions()
        )


def test_tensorboard_writes_beside_the_history(tmp_path):
    run = RunDirectory(tmp_path)
    options = RunOptions(out=str(tmp_path), logger="tensorboard", quiet=True)
    config = TrainerConfig(max_epochs=1, accelerator="cpu", log_every_n_steps=1)
    trainer = build_trainer(config, run, options)
    trainer.fit(Dropped(), ResumableLoader(Keyed(), EpochSampler(2 * BATCHES, 2)))
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert run.history.is_file()


def test_progress_tells_the_time_left(tmp_path, capsys):
    config = TrainerConfig(max_epochs=1, accelerator="cpu")
    trainer = build_trainer(
        config, RunDirectory(tmp_path), RunOptions(quiet=True), [Progress(every_s=0.0)]
    )
    trainer.fit(Dropped(), ResumableLoader(Keyed(), EpochSampler(2 * BATCHES, 2)))
    lines = capsys.readouterr().err.splitlines()
    assert any("epoch 1/1" in line and "step 5/5" in line and "left" in line for line in lines)
    assert clock(59.6) == "0:01:00"


SCRIPT = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("trained", {file!r})
trained = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trained)
class Slow(trained.Dropped):
    def training_step(self, batch, batch_index):
        time.sleep(0.05)
        return super().training_step(batch, batch_index)
trained.Dropped = Slow
from pathlib import Path
trained.train(Path(sys.argv[1]), resume="auto", max_epochs={epochs}, checkpoint_minutes={minutes})
"""


@pytest.mark.parametrize(("kill", "minutes"), [(signal.SIGTERM, 60.0), (signal.SIGKILL, 0.0)])
def test_killed_process_resumes_exactly(tmp_path, kill, minutes):
    script = SCRIPT.format(file=__file__, epochs=8, minutes=minutes)
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(kill)
    _, errors = process.communicate(timeout=60)
    assert (kill == signal.SIGKILL) == (process.returncode != 0), errors
    step = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < step < 8 * BATCHES, "the run ended before it was killed"
    train(tmp_path / "whole", max_epochs=8)
    resumed = train(tmp_path, resume="auto", max_epochs=8)
    whole = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole["state_dict"][name]), name
