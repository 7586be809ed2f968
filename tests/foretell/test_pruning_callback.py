"""Pruning along a schedule of steps: when, how much, and what a resumed run knows of it."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from foretell.blocks.pruning import (
    apply_masks,
    magnitude_masks,
    pruned_percent,
    remove_masks,
)
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU
from foretell.blocks.sparse_recurrent import SparseRecurrent
from foretell.config import RunOptions, TrainerConfig
from foretell.history import read_history
from foretell.loader import EpochSampler, ResumableLoader
from foretell.pruning_callback import Pruning
from foretell.run import RunDirectory
from foretell.trainer import build_trainer


class Sums(lightning.LightningModule):
    """A recurrence that learns to add up."""

    def __init__(self, network):
        super().__init__()
        self.network, self.head = network, nn.Linear(network.output_dim, 1)

    def training_step(self, batch, batch_index):
        y, _ = self.network(batch)
        loss = (self.head(y) - batch.sum(2, keepdim=True).cumsum(1)).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05)


class StopAfter(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


class Watch(Callback):
    """Pruned matrices after every batch."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        core = pl_module.network.core
        flat = [w.detach().flatten() for w in (core.weight_ih_l0, core.weight_hh_l0)]
        self.weights.append(torch.cat(flat))


class Series(torch.utils.data.Dataset):
    def __getitem__(self, key):
        epoch, index = key
        return torch.randn(5, 3, generator=torch.Generator().manual_seed(100 * epoch + index))

    def __len__(self):
        return 24


def train(out, pruning, *, network=GRU, resume="", stop_after=None, callbacks=(), **config):
    torch.manual_seed(0)
    module = Sums(network(3, 8))
    run, options = RunDirectory(out), RunOptions(out=str(out), quiet=True, resume=resume)
    config = {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, **config}
    stop = [] if stop_after is None else [StopAfter(stop_after)]
    trainer = build_trainer(
        TrainerConfig(checkpoint_minutes=0.0, **config), run, options, [pruning, *callbacks, *stop]
    )
    loader = ResumableLoader(Series(), EpochSampler(24, 4))  # six batches an epoch
    trainer.fit(module, loader, ckpt_path=run.resume_path(options))
    return module


def logged(out):
    rows = read_history(out / "metrics.csv")
    return [(row["step"], row["train/pruned_percent"]) for row in rows]


def test_train_then_prune_then_retrain(tmp_path):
    watch = Watch()
    module = train(tmp_path, Pruning(70, first_step=4), callbacks=[watch])
    weights = watch.weights
    assert len(weights) == 12 and all(w.all() for w in weights[:3])
    zeros = [w == 0 for w in weights[3:]]
    assert 0.69 < zeros[0].double().mean() < 0.71
    assert all(torch.equal(z, zeros[0]) for z in zeros)  # they hold under retraining
    kept = ~zeros[0]
    assert not torch.equal(weights[3][kept], weights[-1][kept])
    share = 100 * zeros[0].double().mean().item()
    assert logged(tmp_path) == [(n, 0.0 if n < 3 else pytest.approx(share)) for n in range(12)]
    remove_masks(module)
    assert torch.equal(module.network.core.weight_ih_l0.flatten() == 0, zeros[0][: 24 * 3])


def test_dense_weights_are_pruned_before_the_first_step(tmp_path):
    watch = Watch()
    train(tmp_path, Pruning(60), callbacks=[watch])
    dense = GRU(3, 8)
    torch.manual_seed(0)
    dense.reset_parameters()
    flat = torch.cat([dense.core.weight_ih_l0.flatten(), dense.core.weight_hh_l0.flatten()]).abs()
    want = flat < torch.quantile(flat.double(), 0.6)
    assert all(torch.equal(w == 0, want) for w in watch.weights)


def test_percent_rises_along_the_cubic_curve(tmp_path):
    pruning = Pruning(90, first_step=2, last_step=10, every_n_steps=3, start_percent=10)
    train(tmp_path, pruning)
    # Prunings after 2, 5, 8 and 10 steps: progress 0, 3/8, 6/8, 1.
    percents = [10, 90 - 80 * (5 / 8) ** 3, 90 - 80 * (2 / 8) ** 3, 90]
    want = [0, *[percents[0]] * 3, *[percents[1]] * 3, *[percents[2]] * 2, *[percents[3]] * 3]
    num_weights = 24 * 3 + 24 * 8
    assert logged(tmp_path) == [
        (n, pytest.approx(percent, abs=100 / num_weights)) for n, percent in enumerate(want)
    ]
    assert [pruning.scheduled_percent(n) for n in (0, 2, 5, 10, 99)] == pytest.approx(
        [0, 10, percents[1], 90, 90]
    )


@pytest.mark.parametrize("stop_after", [0, 3, 6, 8])
def test_a_resumed_run_repeats_the_unbroken_one(tmp_path, stop_after):
    def schedule():
        return Pruning(80, first_step=3, last_step=9, every_n_steps=2)

    want = train(tmp_path / "whole", schedule())
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "broken", schedule(), stop_after=stop_after)
    resumed = train(tmp_path / "broken", schedule(), resume="auto")
    assert logged(tmp_path / "broken") == logged(tmp_path / "whole")
    assert 79 < pruned_percent(resumed) < 81
    for name, value in want.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_what_was_pruned_before_stays_pruned(tmp_path):
    def half_pruned(*sizes):
        network = GRU(*sizes)
        apply_masks(network, magnitude_masks(network, 50))
        return network

    pruning = Pruning(60, first_step=2, last_step=8, every_n_steps=1)
    for fit in ("first", "second"):  # one callback may serve two runs
        train(tmp_path / fit, pruning, network=half_pruned)
        percents = [percent for _, percent in logged(tmp_path / fit)]
        assert percents == sorted(percents)
        assert percents[:2] == pytest.approx([50, 50], abs=0.4)
        assert percents[-1] == pytest.approx(60, abs=0.4)


def test_accumulated_batches_are_one_step(tmp_path):
    watch = Watch()
    train(tmp_path, Pruning(50, first_step=2), callbacks=[watch], accumulate_grad_batches=2)
    assert [bool((w == 0).any()) for w in watch.weights] == [False] * 3 + [True] * 9


def test_edges_of_a_graph_and_a_part_of_the_module(tmp_path):
    graph = graph_from_edges(5, [(0, 2), (0, 3), (1, 3), (2, 4), (1, 4)])

    def wired(input_dim, _):
        return SparseRecurrent(input_dim, graph)

    pruning = Pruning(50, first_step=2, last_step=6, every_n_steps=1, part="network.layers.1")
    module = train(tmp_path, pruning, network=wired)
    layer = module.network.layers[1]
    assert pruned_percent(layer) == pytest.approx(50, abs=5)
    assert pruned_percent(module) < 30
    edges = layer.core.weight_ih_l0.unflatten(0, (3, 2))
    assert not edges[:, ~graph.masks[0]].any()  # three gates


@pytest.mark.parametrize(
    "options, message",
    [
        ({"percent": 101}, "start_percent <= percent <= 100, got 0 and 101"),
        ({"percent": 20, "start_percent": 30}, "percent <= 100, got 30 and 20"),
        ({"percent": 20, "first_step": -1}, "first_step <= last_step, got -1 and -1"),
        ({"percent": 20, "first_step": 5, "last_step": 4}, "last_step, got 5 and 4"),
        ({"percent": 20, "every_n_steps": 0}, "every_n_steps must be at least 1, got 0"),
    ],
)
def test_wrong_schedules_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Pruning(**options)
