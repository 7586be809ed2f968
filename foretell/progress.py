"""Progress of a training run: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from foretell.track import clock


class Progress(Callback):
    """Epoch, step, loss, speed and time left, on standard error.

    Args:
        every_s: Seconds between two lines where standard error is no terminal.
    """

    def __init__(self, *, every_s: float = 30.0) -> None:
        self.every_s = every_s
        self._bar: Any = None
        self._task: Any = None
        self._started_at = self._printed_at = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._started_at = self._printed_at = time.monotonic()
        self._first_step = trainer.global_step
        if trainer.is_global_zero and sys.stderr.isatty():
            self._open_bar(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(
                self._task, completed=trainer.global_step, note=self._note(trainer, outputs)
            )
        elif now - self._printed_at >= self.every_s:
            self._printed_at = now
            sys.stderr.write(self.line(trainer, outputs) + "\n")
            sys.stderr.flush()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._close_bar()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        self._close_bar()

    def line(self, trainer: lightning.Trainer, outputs: Any) -> str:
        """One line with the time left from the mean speed since the start."""
        done = trainer.global_step - self._first_step
        elapsed = time.monotonic() - self._started_at
        total = _total_steps(trainer)
        text = f"{self._note(trainer, outputs)}  step {trainer.global_step}"
        if total is None or done == 0:
            return text
        left_s = elapsed / done * (total - trainer.global_step)
        return f"{text}/{total}  {done / elapsed:.2f} steps/s  {clock(left_s)} left"

    def _note(self, trainer: lightning.Trainer, outputs: Any) -> str:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        shown = "" if loss is None else f"  loss {float(loss):.4g}"
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}{shown}"

    def _open_bar(self, trainer: lightning.Trainer) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = ("{task.fields[note]}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, TextColumn("left"), console=Console(stderr=True))
        self._task = self._bar.add_task(
            "train", total=_total_steps(trainer), completed=trainer.global_step, note=""
        )
        self._bar.start()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _total_steps(trainer: lightning.Trainer) -> int | None:
    total = trainer.estimated_stepping_batches
    return int(total) if total not in (float("inf"), -1) else None
