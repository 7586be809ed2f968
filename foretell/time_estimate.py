"""How long a training will take, told from its second step."""

import logging
import time
from typing import Any

from lightning.pytorch.callbacks import Callback

_log = logging.getLogger(__name__)


class TimeEstimate(Callback):
    """Time the second step, as the first one also warms up, and tell what all epochs would take.

    Args:
        what: Is trained, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._begun: float | None = None
        self._told = False

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to time the second step."""
        if batch_idx == 1 and not self._told:
            self._begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell."""
        if batch_idx != 1 or self._begun is None or self._told or not trainer.is_global_zero:
            return
        step_s, self._told = time.perf_counter() - self._begun, True
        steps, epochs = int(trainer.num_training_batches), trainer.max_epochs or 1
        _log.info(
            "%s: %d steps an epoch, about %s; at most %d epochs, %s, and their validation",
            self.what, steps, duration(steps * step_s), epochs, duration(steps * epochs * step_s),
        )  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds as a person reads them.

    Example:
        >>> duration(4.2), duration(200.0), duration(9000.0)
        ('4.2 s', '3.3 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
