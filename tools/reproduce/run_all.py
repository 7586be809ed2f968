"""Small reproductions of the papers' claims: every row that is missing, then the summary.

    python tools/reproduce/run_all.py [--task NAME ...] [--jobs N] [--smoke] [--plan] [--out DIR]

Rows go to DIR/blocks_<task>.csv (docs/results), the summary of all tasks to DIR/blocks.md. A
finished row is never run again: after a kill the same command goes on. `--plan` runs nothing and
writes the summary of what is there; `--smoke` takes a few steps of the first seed and writes to
runs/reproduce_smoke.
"""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from experiment import NAMES, SEEDS, TRAINING_COLUMNS, Experiment, load, run_row  # noqa: E402
from summary import summary  # noqa: E402

from foretell.errors import UserError  # noqa: E402
from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, Row, Study, read_rows  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs" / "results"
SMOKE_RESULTS = REPOSITORY / "runs" / "reproduce_smoke"


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, run, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=NAMES, help="instead of all; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--smoke", action="store_true", help="a few steps, written elsewhere")
    parser.add_argument("--plan", action="store_true", help="run nothing, write the summary")
    parser.add_argument("--out", type=Path, help="folder of the tables")
    options = parser.parse_args(words)
    folder = options.out or (SMOKE_RESULTS if options.smoke else RESULTS)
    if options.smoke and folder.resolve() == RESULTS:
        parser.error(f"--smoke does not write to {RESULTS}")
    tables, failures = [], []
    for name in NAMES:
        experiment = load(name)
        study = Study(
            folder / f"blocks_{name}.csv",
            (*experiment.columns, *TRAINING_COLUMNS, "commit"),
            jobs=options.jobs,
        )
        if not options.plan and name in (options.task or NAMES):
            try:
                study.run(rows(experiment, smoke=options.smoke))
            except UserError as error:  # the other tasks go on; told at the end
                failures.append(str(error))
        columns = ["name", "variant", "seed", "settings", *study.metrics]
        tables.append((experiment, read_rows(study.path, columns)))
    atomic_write(folder / "blocks.md", summary(tables))
    if failures:
        raise UserError("; ".join(failures))


def rows(experiment: Experiment, *, smoke: bool) -> list[Row]:
    """Variants by seeds, the first seed of all variants first."""
    return [
        Row(
            f"{variant}/seed_{seed}",
            {
                "variant": variant,
                "seed": seed,
                "settings": "smoke" if smoke else experiment.fingerprint,
            },
            partial(row_with_commit, experiment.name, variant, seed, smoke),
        )
        for seed in (SEEDS[:1] if smoke else SEEDS)
        for variant in experiment.variants
    ]


def row_with_commit(name: str, variant: str, seed: int, smoke: bool) -> dict[str, Cell]:
    """A row and the commit that made it."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short=10", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {**run_row(name, variant, seed, smoke), "commit": done.stdout.strip()}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
