"""What training tells of anchors, counted again by hand; without them nothing is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_gpt2
from torch import nn

from forecasting.anchor_report import AnchorReport, anchor_reports
from forecasting.backbone import wrap
from forecasting.config import FitConfig
from forecasting.data.windows import Windows
from forecasting.evaluation.anchor_use import use_entropy
from forecasting.fit import fit
from forecasting.language_model import word_embeddings
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from foretell.config import RunOptions, TrainerConfig
from foretell.history import read_history
from foretell.run import RunDirectory

CONFIG = S2ipConfig(
    trend_window=8, season=4, patch_length=6, stride=4, retrieved=3, head="flatten",
    anchors=AnchorConfig(count=20), backbone=BackboneConfig(model="tiny"),
)  # fmt: skip
VALUES = torch.randn(120, 2, generator=torch.Generator().manual_seed(0)).cumsum(0)
TOLD = {"train/anchors_used", "train/anchor_entropy", "val/token_word_mmd"}


def _build(config: S2ipConfig = CONFIG) -> S2IP:
    torch.manual_seed(0)
    model = tiny_gpt2(1)
    backbone = (wrap(model, config.backbone), word_embeddings(model))
    return S2IP(24, 6, config, backbone=backbone)


def _fit(network: nn.Module, out: Path, epochs: int, resume: str = "") -> list[dict[str, float]]:
    windows = [Windows(VALUES, starts, 24, 6) for starts in (range(24, 70), range(80, 114))]
    run = RunDirectory(out)
    fit(
        network, FitConfig(batch=8, max_epochs=epochs, lr=1e-3), *windows,
        TrainerConfig(threads=1, accelerator="cpu"), run,
        RunOptions(out=str(out), quiet=True, resume=resume),
    )  # fmt: skip
    return [row for row in read_history(run.history) if "val/mse" in row]


def test_every_epoch_tells_use_and_distance(tmp_path: Path) -> None:
    network, counted = _build(), []
    stock = network.loss

    def counting(x: torch.Tensor, y: torch.Tensor) -> object:
        counted.append(network.retrieved(x).anchors)
        return stock(x, y)

    network.loss = counting  # type: ignore[method-assign,assignment]
    network.eval()  # without dropout; the second pass counts everything twice, which shows nowhere
    rows = _fit(network, tmp_path, 2)
    assert len(rows) == 2 and all(TOLD <= set(row) for row in rows)
    first, whole = counted[: len(counted) // 2], torch.cat(counted)
    assert rows[0]["train/anchors_used"] == len(torch.cat(first).unique())
    assert rows[1]["train/anchors_used"] == len(whole.unique())
    counts = torch.bincount(torch.cat(first).flatten(), minlength=20)
    assert rows[0]["train/anchor_entropy"] == pytest.approx(use_entropy(counts), abs=1e-5)
    assert 0 < rows[0]["val/token_word_mmd"] < 2
    assert network.watch is None


def test_a_resumed_run_tells_the_same(tmp_path: Path) -> None:
    whole = _fit(_build(), tmp_path / "whole", 3)
    _fit(_build(), tmp_path / "cut", 2)
    resumed = _fit(_build(), tmp_path / "cut", 3, resume="auto")
    for one, other in zip(whole, resumed, strict=True):
        assert {name: one[name] for name in TOLD} == {name: other[name] for name in TOLD}


def test_networks_without_anchors_tell_nothing() -> None:
    assert anchor_reports(nn.Linear(2, 2), 0) == []
    assert anchor_reports(_build(replace(CONFIG, retrieved=0)), 0) == []
    (report,) = anchor_reports(_build(), 0)
    assert isinstance(report, AnchorReport)
