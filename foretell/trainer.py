"""Lightning's Trainer from a `TrainerConfig`: logging, progress, checkpoints, exact resume."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from foretell.checkpoints import Checkpoints, LoaderPosition, SafeCheckpointIO, SeededBatches
from foretell.config import RunOptions, TrainerConfig
from foretell.errors import UserError
from foretell.history import HistoryLogger
from foretell.progress import Progress
from foretell.run import RunDirectory
from foretell.timing import LoaderClock, StepTimes


def build_trainer(
    config: TrainerConfig,
    run: RunDirectory,
    options: RunOptions,
    callbacks: Sequence[Callback] = (),
    **arguments: Any,
) -> lightning.Trainer:
    """A trainer that writes into `run` and can be killed and resumed at any moment.

    Args:
        config: Lightning Trainer's arguments.
        run: Folder of metrics.csv and checkpoints.
        options: Seed, resume, quiet and logger.
        callbacks: Further callbacks, called before the checkpoint is written.
        arguments: Further arguments of Lightning Trainer, such as `gradient_clip_val`.

    Returns:
        A trainer; pass `ckpt_path=run.resume_path(options)` to its `fit`.
    """
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    clock = LoaderClock()
    own: list[Callback] = [LoaderPosition(), SeededBatches(options.seed), StepTimes(clock)]
    if not options.quiet:
        own.append(Progress())
    checkpoints = Checkpoints(
        run.checkpoints,
        every_n_steps=config.checkpoint_every_n_steps,
        minutes=config.checkpoint_minutes,
    )
    try:
        return lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=config.precision,
            max_epochs=config.max_epochs,
            max_steps=config.max_steps,
            accumulate_grad_batches=config.accumulate_grad_batches,
            log_every_n_steps=config.log_every_n_steps,
            check_val_every_n_epoch=config.check_val_every_n_epoch,
            deterministic=config.deterministic,
            limit_train_batches=config.limit_train_batches,
            limit_val_batches=config.limit_val_batches,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=run.path,
            plugins=[SafeCheckpointIO()],
            logger=_loggers(run, options),
            profiler=clock,
            callbacks=[*own, *callbacks, checkpoints],
            **arguments,
        )
    except (lightning.fabric.utilities.exceptions.MisconfigurationException, ValueError) as error:
        raise UserError(f"trainer: {error}") from None


def _loggers(run: RunDirectory, options: RunOptions) -> list[Logger]:
    loggers: list[Logger] = [HistoryLogger(run.history, resume=bool(options.resume))]
    if options.logger == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
    elif options.logger == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        try:
            loggers.append(WandbLogger(name=run.path.name, save_dir=run.path))
        except ModuleNotFoundError:
            raise UserError(
                "--logger wandb: wandb is not installed; pip install wandb, or choose csv or "
                "tensorboard"
            ) from None
    return loggers
