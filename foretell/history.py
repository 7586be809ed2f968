"""metrics.csv: every logged step of a run, kept across restarts."""

import csv
import io
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from foretell.run import atomic_write


class HistoryLogger(Logger):
    """Rows (step, epoch, one column per value) of a CSV file that a resumed run continues.

    Args:
        path: The CSV file.
        resume: Keep the rows of the interrupted run up to the step where this one goes on.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        super().__init__()
        self.path = path
        self._earlier = read_history(path) if resume else []
        self._rows: list[dict[str, float]] = []
        self._written = False

    @property
    def name(self) -> str:
        return "history"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = step or 0
        if not self._rows:
            self._earlier = [row for row in self._earlier if row["step"] < step]
        row = {"step": float(step), **{name: float(value) for name, value in metrics.items()}}
        if self._rows and self._rows[-1]["step"] == step:
            self._rows[-1].update(row)
        else:
            self._rows.append(row)
        self._written = False

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kw: Any) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def save(self) -> None:
        if self._written or not self._rows:
            return
        rows = self._earlier + self._rows
        names = sorted({name for row in rows for name in row} - {"step", "epoch"})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "epoch", *names])
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in ("step", "epoch", *names)])
        atomic_write(self.path, text.getvalue())
        self._written = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def read_history(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv; empty cells are left out. No file, no rows."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            {name: float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(file)
        ]


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    if math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return repr(value)
