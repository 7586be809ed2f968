"""The trainer under torch.distributed: two gloo processes on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from foretell.history import read_history

SCRIPT = """
import sys
from pathlib import Path
import lightning, torch
from foretell.config import RunOptions, TrainerConfig
from foretell.loader import EpochSampler, ResumableLoader
from foretell.run import RunDirectory
from foretell.trainer import build_trainer

class Keyed(torch.utils.data.Dataset):
    def __getitem__(self, key):
        return torch.full((1,), float(key[1]))
    def __len__(self):
        return 8

class Mean(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def training_step(self, batch, index):
        loss = (self.weight - batch).square().mean()
        self.log("train/loss", loss, sync_dist=True)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

out, devices, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
strategy = "ddp" if devices > 1 else "auto"
config = TrainerConfig(accelerator="cpu", devices=devices, strategy=strategy, max_epochs=epochs,
                       log_every_n_steps=1, checkpoint_minutes=0.0, threads=1)
options = RunOptions(out=str(out), quiet=True, resume="auto")
run = RunDirectory(out)
trainer = build_trainer(config, run, options)
sampler = EpochSampler(8, 4 // devices, rank=trainer.global_rank, world_size=devices)
trainer.fit(Mean(), ResumableLoader(Keyed(), sampler), ckpt_path=run.resume_path(options))
"""


def train(script: Path, out: Path, devices: int, epochs: int) -> torch.Tensor:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(script), str(out), str(devices), str(epochs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["weight"]


@pytest.mark.slow
def test_two_processes_equal_one_and_resume(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    one = train(script, tmp_path / "one", 1, 2)
    train(script, tmp_path / "two", 2, 1)
    two = train(script, tmp_path / "two", 2, 2)
    torch.testing.assert_close(two, one)
    histories = [read_history(tmp_path / name / "metrics.csv") for name in ("one", "two")]
    assert [row["step"] for row in histories[1]] == [0, 1, 2, 3]
    for a, b in zip(*histories, strict=True):
        torch.testing.assert_close(a["train/loss"], b["train/loss"])
