"""How long a training step takes, and how much of it is spent waiting for the loader."""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler


class LoaderClock(Profiler):
    """Seconds spent waiting for training batches, as Lightning reports them to its profiler."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0
        """Since it was last set to 0."""
        self._since: float | None = None

    def start(self, action_name: str) -> None:
        if action_name.endswith(".train_dataloader_next"):
            self._since = time.monotonic()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(".train_dataloader_next") and self._since is not None:
            self.waited_s += time.monotonic() - self._since
            self._since = None

    def summary(self) -> str:
        return ""


class StepTimes(Callback):
    """Logs `train/step_s`, seconds from one optimiser step to the next, `train/data_s`, the seconds
    of it spent waiting for the loader, and `train/elapsed_s`, the seconds of all steps so far.

    The last adds up over the pieces of a resumed run; steps that a kill undid do not count. A
    loader with workers is waited for only where it is slower than the rest of the step. A
    checkpoint counts as part of the step after it, unless an epoch lies between them.

    Args:
        clock: The trainer's profiler.
    """

    def __init__(self, clock: LoaderClock) -> None:
        self.clock = clock
        self._elapsed_s = 0.0
        self._since = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_s": self._elapsed_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._elapsed_s = state_dict["elapsed_s"]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._restart()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole = not trainer.fit_loop._should_accumulate()
        step_s = time.monotonic() - self._since
        if whole:
            self._elapsed_s += step_s
        if trainer._logger_connector.should_update_logs:  # what is not written costs a small step
            times = {
                "train/step_s": step_s,
                "train/data_s": self.clock.waited_s,
                "train/elapsed_s": self._elapsed_s,
            }
            pl_module.log_dict(times, on_step=True, on_epoch=False)
        if whole:
            self._restart()

    def _restart(self) -> None:
        self._since, self.clock.waited_s = time.monotonic(), 0.0
