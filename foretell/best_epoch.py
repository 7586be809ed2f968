"""Early stopping that keeps the weights of the best epoch, across kills and resumes."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from foretell.errors import UserError


class BestEpoch(Callback):
    """Keeps the weights of the best validation and stops when none is better for long.

    The LightningModule's `network` is what is kept.

    Args:
        metric: Its name after `val/`.
        patience: Epochs.
        lower_is_better: An error, not a score.
    """

    def __init__(self, metric: str, patience: int, *, lower_is_better: bool) -> None:
        self.metric, self.patience = metric, patience
        self.sign = -1.0 if lower_is_better else 1.0
        self.epoch, self.last, self.value = -1, -1, float("-inf")
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        measured = trainer.callback_metrics.get(f"val/{self.metric}")
        if measured is None:
            known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise UserError(
                f"stop.metric {self.metric}: validation has {', '.join(known) or 'no metric'}"
            )
        value = self.sign * float(measured)
        self.last = trainer.current_epoch
        if value > self.value or not self.weights:
            self.epoch, self.value = self.last, value
            self.weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in pl_module.network.state_dict().items()
            }
        self._stop(trainer)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """A run that had stopped does not go on when it is resumed."""
        self._stop(trainer)

    def restore(self, network: Any, trainer: lightning.Trainer) -> dict[str, float]:
        """Leave the network with the best weights, in eval mode.

        Returns:
            `epochs` run, `best_epoch` (both from 1) and the watched `best_value`.

        Raises:
            UserError: There was no validation.
        """
        if not self.weights:
            raise UserError(
                f"no validation in {trainer.current_epoch} epochs: set "
                "trainer.check_val_every_n_epoch to at most trainer.max_epochs"
            )
        network.load_state_dict(self.weights)
        network.eval()
        return {
            "epochs": float(trainer.current_epoch),
            "best_epoch": float(self.epoch + 1),
            "best_value": self.sign * self.value,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch, "last": self.last, "value": self.value, "weights": self.weights
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.value = state_dict["epoch"], state_dict["value"]
        self.last, self.weights = state_dict["last"], state_dict["weights"]

    def _stop(self, trainer: lightning.Trainer) -> None:
        if self.weights and self.last - self.epoch >= self.patience:
            trainer.should_stop = True
