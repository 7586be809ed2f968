"""Magnitude pruning of recurrent networks while Lightning trains them."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn

from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.pruning import (
    Which,
    apply_masks,
    gradual_percent,
    kept_masks,
    magnitude_masks,
    pruned_percent,
)


class Pruning(Callback):
    """Prunes after given numbers of optimiser steps and logs `train/pruned_percent`.

    At once: train for `first_step` steps, prune, go on under the masks. The rows of 2407.20601 are
    runs that start from the same dense weights with `first_step=0`, one for each percent. With a
    `last_step`: percentages rise from `start_percent` along the cubic curve of 1710.01878. What is
    pruned comes from `magnitude_masks`.

    Masks are there from the setup on, in checkpoints too, so a run resumes and is tested with the
    callback that it began with; the network must be built by then, not in `configure_model`. What
    is pruned stays so, also what was before the run.
    `foretell.blocks.pruning.remove_masks` makes the result permanent after training.

    Args:
        percent: To prune in the end.
        first_step: Optimiser steps before the first pruning.
        last_step: Optimiser steps before the last pruning; none = prune once, at `first_step`.
        every_n_steps: From one pruning to the next.
        start_percent: To prune at `first_step` if it is not the last.
        which: Matrices, as for `magnitude_masks`.
        part: Name of the part of the module to prune, empty = all of it.
    """

    def __init__(
        self,
        percent: float | int,
        *,
        first_step: int = 0,
        last_step: int | None = None,
        every_n_steps: int = 100,
        start_percent: float | int = 0,
        which: Which = "both",
        part: str = "",
    ) -> None:
        if not 0 <= start_percent <= percent <= 100:
            raise ValueError(
                "percentages must keep to 0 <= start_percent <= percent <= 100, got "
                f"{start_percent} and {percent}"
            )
        last_step = first_step if last_step is None else last_step
        if not 0 <= first_step <= last_step:
            raise ValueError(
                f"steps must keep to 0 <= first_step <= last_step, got {first_step} and {last_step}"
            )
        check_positive(every_n_steps=every_n_steps)
        check_choice("which", which, Which)
        self.percent, self.start_percent = percent, start_percent
        self.first_step, self.last_step, self.every_n_steps = first_step, last_step, every_n_steps
        self.which, self.part = which, part
        self._pruned_at = -1
        self._pruned_percent = 0.0

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Mask before the optimiser is built and a checkpoint read: both go by the parameters."""
        network = self._network(pl_module)
        apply_masks(network, kept_masks(network, which=self.which))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Prune dense weights; a resumed run prunes what it already has."""
        self._pruned_at = -1
        self._pruned_percent = pruned_percent(self._network(pl_module), which=self.which)
        self._prune_if_due(trainer.global_step, self._network(pl_module))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._prune_if_due(trainer.global_step, self._network(pl_module))
        pl_module.log("train/pruned_percent", self._pruned_percent, on_step=True, on_epoch=False)

    def scheduled_percent(self, step: int) -> float:
        """Percent to prune after so many optimiser steps, between two prunings too."""
        if step < self.first_step:
            return 0.0
        if step >= self.last_step:
            return float(self.percent)
        progress = (step - self.first_step) / (self.last_step - self.first_step)
        return gradual_percent(progress, self.start_percent, self.percent)

    def _prune_if_due(self, step: int, network: nn.Module) -> None:
        since = step - self.first_step
        due = self.last_step if step >= self.last_step else step - since % self.every_n_steps
        if since < 0 or due == self._pruned_at:
            return
        kept = kept_masks(network, which=self.which)
        masks = magnitude_masks(network, self.scheduled_percent(due), which=self.which)
        apply_masks(network, {name: mask & kept[name] for name, mask in masks.items()})
        self._pruned_at = due
        self._pruned_percent = pruned_percent(network, which=self.which)

    def _network(self, pl_module: nn.Module) -> nn.Module:
        return pl_module.get_submodule(self.part)
