"""Restartable studies: many rows over hours, one CSV that grows a row at a time.

A study is a list of rows, each a function or a command. A finished row is in the CSV and is not
run again, so the same command continues after a kill; a row longer than a sitting resumes from
its own checkpoint (give its command `--resume auto`).
"""

import csv
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

from foretell.errors import UserError

_log = logging.getLogger(__name__)

Cell = str | int | float | bool | None
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_commands: list[subprocess.Popen[bytes]] = []
"""Of this worker, while they run."""
_staying = threading.Lock()


@dataclass(frozen=True)
class CommandWork:
    """A row made by a process of its own that leaves a metrics.json."""

    command: tuple[str, ...]
    """Words after `foretell`, such as ("lidar", "pretrain", "--out", "..."); they name `out`."""
    out: str
    """Run folder the command writes; its metrics.json holds the row's numbers."""


@dataclass(frozen=True)
class Row:
    """One run of a study."""

    name: str
    """Unique; finished rows are recognised by it."""
    parameters: Mapping[str, Cell]
    """What distinguishes the row, kept beside its numbers."""
    work: CommandWork | Callable[[], Mapping[str, Cell]]
    """What computes the numbers; a function must be importable by name in another process."""


@dataclass(frozen=True)
class Study:
    """Where rows go and how they are run."""

    path: Path
    """The CSV."""
    metrics: tuple[str, ...]
    """Names of the numbers kept of every row, in the order of the columns."""
    jobs: int = 1
    """Rows at a time, each in its own process."""
    threads: int = 1
    """Threads of every row, fixed so that timings and sums are comparable."""

    def run(self, rows: Sequence[Row], *, smoke: bool = False) -> list[dict[str, str]]:
        """Run the rows that are not in the CSV yet.

        Args:
            rows: All rows of the study, in order.
            smoke: Run the first row alone, to see that the study works.

        Returns:
            All rows of the CSV, as text.

        Raises:
            UserError: A finished row was made with other parameters, or some rows failed; the
                others are kept.
        """
        rows = rows[:1] if smoke else rows
        _check_unique(rows)
        columns = ["name", *rows[0].parameters, *self.metrics] if rows else ["name"]
        finished = {row["name"]: row for row in read_rows(self.path, columns)}
        for row in rows:
            _check_same(row, finished.get(row.name), self.path)
        waiting = [row for row in rows if row.name not in finished]
        _log.info("%s: %d rows finished, %d to run", self.path, len(finished), len(waiting))
        failures = []
        for row, outcome in self._outcomes(waiting):
            try:
                self._append(columns, row, outcome())
            except Exception as error:
                _log.warning("row %s failed: %s", row.name, error)
                failures.append(row.name)
        if failures:
            raise UserError(
                f"{self.path}: {len(failures)} of {len(rows)} rows failed "
                f"({', '.join(failures)}); the same command runs them again"
            )
        return read_rows(self.path, columns)

    def _outcomes(self, rows: list[Row]) -> Iterator[tuple[Row, Callable[[], Mapping[str, Cell]]]]:
        """Rows in the order in which they finish, with what gives their numbers or raises."""
        context = get_context("spawn")
        with ProcessPoolExecutor(
            self.jobs, mp_context=context, initializer=_begin_worker, initargs=(self.threads,)
        ) as pool:
            running: dict[Future[Mapping[str, Cell]], Row] = {
                pool.submit(_work, row, self.threads): row for row in rows
            }
            for future in as_completed(running):
                yield running[future], future.result

    def _append(self, columns: list[str], row: Row, numbers: Mapping[str, Cell]) -> None:
        missing = [name for name in self.metrics if name not in numbers]
        if missing:
            raise ValueError(f"no value for {', '.join(missing)}")
        values = {"name": row.name, **row.parameters, **{n: numbers[n] for n in self.metrics}}
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        new = not self.path.exists() or self.path.stat().st_size == 0
        if new:
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in values.items()})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(text.getvalue())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from None


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Finished rows of a study; a last line cut short by a kill is removed from the file.

    Raises:
        UserError: The CSV has other columns.
    """
    if not path.is_file():
        return []
    text = path.read_text()
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        os.truncate(path, len(text.encode()))
    reader = csv.DictReader(io.StringIO(text))
    rows = list(reader)
    if reader.fieldnames and list(reader.fieldnames) != list(columns):
        raise UserError(
            f"{path} has columns {', '.join(reader.fieldnames)}, the study {', '.join(columns)}; "
            "move the file away or use its configuration"
        )
    return rows


def run_command(work: CommandWork, threads: int) -> dict[str, float | int | None]:
    """Run a command in a process of its own, its messages in `out/log.txt`.

    Returns:
        The metrics.json it wrote.

    Raises:
        RuntimeError: It failed; names the log and quotes its last line.
    """
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    out = Path(work.out)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log.txt").open("a") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "foretell", *work.command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        _commands.append(running)
        code = running.wait()
        with _staying:  # a worker that leaves goes no further
            _commands.remove(running)
    if code != 0:
        lines = (out / "log.txt").read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it is empty")
        raise RuntimeError(
            f"exit code {code}, see {out / 'log.txt'}: {last.removeprefix('foretell: ')}"
        )
    numbers: dict[str, float | int | None] = json.loads((out / "metrics.json").read_text())
    return numbers


def _leave_with_the_study() -> None:
    """End this worker when the study that started it was killed: rows must not go on unseen."""
    study = parent_process()
    if study is None:
        return
    study.join()
    _staying.acquire()
    for running in list(_commands):
        running.terminate()  # It saves where it stands.
        running.wait()
    os._exit(1)


def _work(row: Row, threads: int) -> Mapping[str, Cell]:
    if isinstance(row.work, CommandWork):
        return run_command(row.work, threads)
    return row.work()


def _begin_worker(threads: int) -> None:
    threading.Thread(target=_leave_with_the_study, daemon=True).start()
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    import torch

    torch.set_num_threads(threads)


def _check_unique(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"rows of a study need different names, got {', '.join(double)} twice")


def _check_same(row: Row, finished: dict[str, str] | None, path: Path) -> None:
    if finished is None:
        return
    for name, value in row.parameters.items():
        if finished[name] != _cell(value):
            raise UserError(
                f"{path}: row {row.name} was made with {name} = {finished[name]}, now it is "
                f"{_cell(value)}; move the file away or restore the value"
            )


def _cell(value: Cell) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
