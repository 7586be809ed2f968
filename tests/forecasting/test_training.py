"""Training repeats, goes on after a kill, is shared by processes, and sees no later row."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_gpt2
from torch import nn

from forecasting.backbone import wrap
from forecasting.config import FitConfig
from forecasting.data.windows import Windows
from forecasting.fit import fit
from forecasting.language_model import word_embeddings
from forecasting.linear import NLinear
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from foretell.config import RunOptions, TrainerConfig
from foretell.run import RunDirectory

CONTEXT, HORIZON = 24, 6
FIT = FitConfig(lr=1e-3, batch=8, max_epochs=4, windows_per_epoch=64)
TRAINER = TrainerConfig(threads=1, accelerator="cpu", log_every_n_steps=1, checkpoint_minutes=0.0)


def _nlinear() -> nn.Module:
    return NLinear(CONTEXT, HORIZON)


def _s2ip() -> nn.Module:
    config = S2ipConfig(
        trend_window=6, season=6, patch_length=6, stride=3, retrieved=2, align_weight=0.1,
        anchors=AnchorConfig(count=9), backbone=BackboneConfig(model="tiny"),
    )  # fmt: skip
    model = tiny_gpt2()
    return S2IP(
        CONTEXT, HORIZON, config, backbone=(wrap(model, config.backbone), word_embeddings(model))
    )


def _values() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(400, 2, generator=random).cumsum(0) / 10


def _train(build: Any, out: Path, config: FitConfig = FIT, resume: str = "") -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = build()
    train, val = (
        Windows(_values(), rows, CONTEXT, HORIZON) for rows in (range(24, 250), range(256, 395))
    )
    options = RunOptions(out=str(out), quiet=True, resume=resume)
    fit(network, config, train, val, TRAINER, RunDirectory(out), options)
    return network


def _losses(out: Path, column: str = "train/loss") -> list[str]:
    with (out / "metrics.csv").open(newline="") as file:
        return [row[column] for row in csv.DictReader(file) if row[column]]


@pytest.mark.parametrize("build", [_nlinear, _s2ip])
def test_the_same_seed_gives_the_same_losses_and_a_stopped_run_goes_on(
    build: Any, tmp_path: Path
) -> None:
    whole, again = _train(build, tmp_path / "whole"), _train(build, tmp_path / "again")
    assert len(_losses(tmp_path / "whole")) == 32
    assert _losses(tmp_path / "whole") == _losses(tmp_path / "again")
    _train(build, tmp_path / "parts", replace(FIT, max_epochs=2))
    resumed = _train(build, tmp_path / "parts", resume="auto")
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    finished = _train(build, tmp_path / "parts", resume="auto")  # nothing is left to do
    for name, weight in whole.state_dict().items():
        for other in (again, resumed, finished):
            assert torch.equal(weight, other.state_dict()[name]), name


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_training as t
devices = int(sys.argv[2])
if devices > 1:
    t.TRAINER = replace(t.TRAINER, devices=devices, strategy="ddp")
t._train(t._nlinear, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    for devices in (1, 2):
        out = tmp_path / str(devices)
        words = [sys.executable, str(tmp_path / "script.py"), str(out), str(devices), str(here)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (_losses(tmp_path / str(n), "val/mse") for n in (1, 2))
    assert len(one) == 4
    assert [float(value) for value in one] == pytest.approx([float(v) for v in two], rel=1e-5)
