"""`foretell lidar pretrain`: the training loop around `lidar.trend.Trend`."""

import dataclasses
import logging
import math
from itertools import accumulate
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from foretell.blocks.batch_norm import set_across_processes
from foretell.checkpoints import check_architecture
from foretell.config import RunOptions, TrainerConfig
from foretell.errors import UserError
from foretell.model_folder import load_weights
from lidar.config import CurriculumConfig, PretrainConfig, num_epochs, trend_config
from lidar.data.batch import WindowBatch
from lidar.objectives.range_rendering import RangeRendering
from lidar.trend import Trend

_log = logging.getLogger(__name__)


class PretrainModule(lightning.LightningModule):
    """Steps, logging and optimiser of TREND pretraining (TREND §3.5, §4.1)."""

    def __init__(self, config: PretrainConfig, model: Trend) -> None:
        super().__init__()
        self.config = config
        self.model = model
        for module in unused_modules(model):
            module.requires_grad_(False)
        set_across_processes(model, config.trainer.sync_batchnorm)

    def training_step(self, batch: WindowBatch, batch_index: int) -> Tensor:
        """Loss of one batch."""
        report = self.model.losses(batch)
        self._log("train", report.terms, batch)
        return report.total

    def validation_step(self, batch: WindowBatch, batch_index: int) -> None:
        """The same terms on windows that are not trained on."""
        self._log("val", self.model.losses(batch).terms, batch)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another architecture before anything is loaded."""
        check_architecture(self, checkpoint)

    def _log(self, part: str, terms: dict[str, Tensor], batch: WindowBatch) -> None:
        values: dict[str, Any] = {
            **terms,
            **{f"kept_{name}": share for name, share in batch.kept.items()},
            "copy_last_l1": batch.copy_last_l1_m,
        }
        self.log_dict(
            {f"{part}/{name}": value for name, value in values.items()},
            batch_size=batch.batch_size,
            on_step=part == "train",
            on_epoch=part == "val",
            sync_dist=True,
        )

    def configure_optimizers(self) -> Any:
        """AdamW or Adam, linear warm-up and one cosine over the whole run."""
        optim = self.config.optim
        total = int(self.trainer.estimated_stepping_batches)
        if optim.warmup_iters >= total:
            raise UserError(
                f"optim.warmup_iters {optim.warmup_iters} is not below the run's {total} steps: "
                "lower it or train longer"
            )
        optimizer_class = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.name]
        optimizer = optimizer_class(parameter_groups(self.model, optim.weight_decay), lr=optim.lr)
        restarts = self._restart_steps(total) if optim.restart else []
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, total, optim.warmup_iters, restarts),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _restart_steps(self, total: int) -> list[int]:
        """Steps at which the later curriculum stages begin, as far as the run goes."""
        trainer = self.trainer
        trainer.fit_loop.setup_data()  # else the batches are not counted where max_steps ends a run
        steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        starts = stage_starts(self.config.curriculum, steps_per_epoch)
        return [start for start in starts if start < total]


def unused_modules(model: Trend) -> list[nn.Module]:
    """What no loss reaches; distributed training would wait for its gradients."""
    unused: list[nn.Module] = []
    if model.config.volume.source == "x_conv4":
        unused.append(model.encoder.conv_out)
    if not model.config.loss.intensity and isinstance(model.decoder, RangeRendering):
        unused += [model.decoder.field.f_dir, model.decoder.field.f_int]
    return unused


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay; norms, biases and the sharpness z without."""
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_weight = parameter.ndim > 1 and name.endswith("weight")
        (decayed if is_weight else kept).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def stage_starts(curriculum: CurriculumConfig, steps_per_epoch: int) -> list[int]:
    """Steps at which the later curriculum stages begin; none where it is not enabled.

    Example:
        >>> stage_starts(CurriculumConfig(stages=[[1, 12], [2, 12], [3, 24]]), 100)
        [1200, 2400]
    """
    if not curriculum.enabled:
        return []
    epochs = [stage[1] for stage in curriculum.stages[:-1]]
    return [steps_per_epoch * end for end in accumulate(epochs)]


def learning_rate_factor(step: int, total: int, warmup: int, restarts: list[int]) -> float:
    """Linear warm-up, then one cosine to zero, or one for each stretch between restarts.

    Example:
        >>> [round(learning_rate_factor(s, 100, 10, []), 3) for s in (0, 9, 55, 100)]
        [0.1, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    borders = [warmup, *[border for border in restarts if border > warmup], total]
    start = max(border for border in borders[:-1] if border <= step)
    end = min((border for border in borders if border > start), default=total)
    progress = min(1.0, (step - start) / max(1, end - start))
    return 0.5 * (1 + math.cos(math.pi * progress))


def run(config: PretrainConfig, options: RunOptions) -> None:
    """Train, choose the copy-last baseline on training windows, keep the model, draw the curves.

    With `ablation.level` scratch nothing is trained: the model is kept as initialised.

    Raises:
        UserError: Missing or broken data, no window, an unwritable run directory, initial weights
            that do not fit.
    """
    from foretell.run import RunDirectory
    from foretell.trainer import build_trainer
    from lidar.data.datamodule import PretrainDataModule
    from lidar.trained import finish

    data = PretrainDataModule(config, seed=options.seed)
    data.setup("fit")
    run_directory = RunDirectory.create("lidar-pretrain", config, options)
    torch.manual_seed(options.seed)
    model = Trend(trend_config(config, data.feature_columns))
    if config.init:
        _log.info("initial weights of %s: %s", config.init, load_weights(model, config.init))
    if config.ablation.level == "scratch":
        finish(config, options, run_directory, model, data)
        return
    module = PretrainModule(config, model)
    clip = config.optim.grad_clip or None
    trainer = build_trainer(
        whole_curriculum(config), run_directory, options, gradient_clip_val=clip
    )
    trainer.fit(module, datamodule=data, ckpt_path=run_directory.resume_path(options))
    if trainer.is_global_zero:
        finish(config, options, run_directory, model, data)


def whole_curriculum(config: PretrainConfig) -> TrainerConfig:
    """The trainer's configuration, with all curriculum stages where no length is given."""
    if config.trainer.max_epochs in (None, -1) and config.trainer.max_steps == -1:
        return dataclasses.replace(config.trainer, max_epochs=num_epochs(config.curriculum))
    return config.trainer
