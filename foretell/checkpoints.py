"""Checkpoints that survive a kill at any moment and resume exactly."""

import random
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint

from foretell.errors import UserError
from foretell.history import HistoryLogger
from foretell.loader import ResumableLoader
from foretell.run import atomic_path


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file and renames; reads plain tensors and numbers only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides the system's error of a full disk
                raise OSError(f"the disk is full or failing ({error})") from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = super().load_checkpoint(
                path, map_location=map_location or _on_cpu, weights_only=True
            )
        except FileNotFoundError:
            raise UserError(f"no checkpoint at {path}") from None
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"checkpoint {path} cannot be read: {reason}") from None
        return checkpoint


class Checkpoints(Checkpoint):
    """`last.ckpt` after every epoch, every few minutes and on SIGTERM; others are kept on request.

    Args:
        folder: Where checkpoints go.
        every_n_steps: Also keep `step_<n>.ckpt` every so many optimiser steps; 0 = none.
        minutes: Longest time between two writes of `last.ckpt`.
    """

    def __init__(self, folder: Path, *, every_n_steps: int, minutes: float) -> None:
        super().__init__()
        self.folder, self.every_n_steps, self.seconds = folder, every_n_steps, minutes * 60.0
        self._saved_step = -1
        self._saved_at = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if trainer.is_global_zero:
            for left_over in self.folder.glob(".*.tmp"):  # of a run killed while it wrote
                left_over.unlink(missing_ok=True)
            if trainer.ckpt_path is None:
                self._set_aside()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Between optimiser steps gradients are being accumulated, which no checkpoint holds.
        if trainer.global_step == self._saved_step or trainer.fit_loop._should_accumulate():
            return
        names = []
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            names.append(f"step_{trainer.global_step:08d}.ckpt")
        late = time.monotonic() - self._saved_at > self.seconds
        if _any_process(trainer, late or trainer.received_sigterm):
            names.append("last.ckpt")
        if names:
            _log_step(trainer)
        for name in names:
            self._save(trainer, name)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save(trainer, "last.ckpt")

    def _set_aside(self) -> None:
        """Rename the checkpoints of an earlier run in this folder to `<name>.earlier`.

        A new run that is killed before its first checkpoint must not go on from theirs.
        """
        for earlier in sorted(self.folder.glob("*.ckpt")):
            earlier.replace(earlier.with_name(earlier.name + ".earlier"))

    def _save(self, trainer: lightning.Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
        if name == "last.ckpt":
            self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


def check_architecture(module: lightning.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint of another model; for `LightningModule.on_load_checkpoint`.

    Raises:
        UserError: Naming the first weight that differs.
    """
    stored, own = checkpoint["state_dict"], module.state_dict()
    for name in sorted(stored.keys() | own.keys()):
        theirs, ours = (
            list(state[name].shape) if name in state else "missing" for state in (stored, own)
        )
        if theirs != ours:
            raise UserError(
                f"checkpoint {module.trainer.ckpt_path} is of another architecture: {name} is "
                f"{theirs} there and {ours} here; resume with the config.yaml of its run"
            )


class LoaderPosition(Callback):
    """Gives the loaders the position that the checkpoint holds, and where an epoch ends.

    Lightning does so when it first sets the loaders up, which is too early, and then never, if
    `configure_optimizers` asks for `trainer.estimated_stepping_batches`.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        loop = trainer.fit_loop
        states, loaders = loop._combined_loader_states_to_load, loop._combined_loader
        if states and loaders is not None:
            loaders._load_state_dicts(states)
            loop._combined_loader_states_to_load = []
        for loader in [] if loaders is None else loaders.flattened:
            if isinstance(loader, ResumableLoader):
                loader.batches_per_epoch = int(trainer.num_training_batches)


class SeededBatches(Callback):
    """Seeds the global generators before each batch from (seed, process, epoch, batch).

    A batch then draws the same numbers in an unbroken and in a resumed run, whatever was drawn in
    between: no generator state needs to be saved.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        key = (self.seed, trainer.global_rank, trainer.current_epoch, batch_idx)
        words = np.random.SeedSequence(key).generate_state(2)
        if trainer.strategy.root_device.type == "cpu":
            # torch.manual_seed would also note its call stack for every accelerator, 1 ms a step
            torch.default_generator.manual_seed(int(words[0]))
        else:
            torch.manual_seed(int(words[0]))
        np.random.seed(int(words[1]))
        random.seed(int(words[1]))


def _log_step(trainer: lightning.Trainer) -> None:
    """Write the step's row of metrics.csv before its checkpoint.

    Lightning would write it afterwards, and a kill in between would lose it for good.
    """
    connector = trainer._logger_connector
    if not connector.should_update_logs:
        return
    row = {"epoch": float(trainer.current_epoch)}
    row |= {name: float(value) for name, value in connector.metrics["log"].items()}
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers:
        if isinstance(logger, HistoryLogger):
            logger.log_metrics(row, step)
            logger.save()


def _on_cpu(storage: Any, location: str) -> Any:
    """Where torch.load puts a tensor; Lightning moves it to its device."""
    return storage


def _any_process(trainer: lightning.Trainer, decision: bool) -> bool:
    if trainer.world_size == 1:
        return decision
    return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))
