"""Node regression on tennis mentions and covid cases beside the last value, then the table.

    python tools/reproduce/graph_regression.py --data FOLDER [--jobs N] [--smoke]

FOLDER holds twitter_tennis_rg17.json and england_covid.json. One configuration, not tuned; three
seeds. Rows go to docs/results/graph_regression.csv; a finished one is never run again.
"""

import argparse
import csv
import logging
import os
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from graph_links import REPOSITORY, facts  # noqa: E402

from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, CommandWork, Row, Study, run_command  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "graph_regression.csv"
RUNS = REPOSITORY / "runs" / "graph_regression"
FILES = ("twitter_tennis_rg17", "england_covid")
SEEDS = 3
WHO = ("evolvegcn_h", "decoder_only", "static_gcn", "gcn_gru", "last_value")
METRICS = (*WHO, "epochs", "best_epoch", "seconds", "commit")
FLAGS = (
    "--task regression --model.version h --model.hidden_dim 32 --structure.lags 3 "
    "--optim.lr 0.003 --trainer.max_epochs 40"
)
HEAD = f"""# Node regression

`python tools/reproduce/graph_regression.py --data FOLDER`: `{FLAGS}`,
one thread a row, epoch chosen by validation. Mean squared error over the test steps, mean ± sample
standard deviation over seeds; `decoder_only` has the same past values and no graph. In the tennis
file graph and columns of a step belong to the day whose value is asked for, as it was published:
not a clean forecast.

| data | seeds | {" | ".join(WHO)} |
|---|---|{"---|" * len(WHO)}
"""


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--smoke", action="store_true", help="one epoch, written to runs/")
    options = parser.parse_args()
    rows = [
        row(file, seed, options.data.resolve(), smoke=options.smoke)
        for seed in range(1 if options.smoke else SEEDS)
        for file in FILES
    ]
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    Study(path, METRICS, jobs=options.jobs).run(rows)
    atomic_write(path.with_suffix(".md"), page(path))


def row(file: str, seed: int, data: Path, *, smoke: bool) -> Row:
    """One run of `foretell graphs train`."""
    out = RUNS / ("smoke" if smoke else "rows") / f"{file}_{seed}"
    command = (
        "graphs", "train", "--data.path", str(data / f"{file}.json"), *FLAGS.split(),
        "--seed", str(seed), "--resume", "auto", "--out", str(out),
    )  # fmt: skip
    if smoke:
        command += ("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1")
    work = partial(numbers, CommandWork(command, str(out)))
    return Row(f"{file}/{seed}", {"file": file, "seed": seed}, work)


def numbers(work: CommandWork) -> Mapping[str, Cell]:
    """Run a row and pick its numbers."""
    found = run_command(work, threads=1)
    errors = {who: found[f"test/fixed/{who}/mse/mean"] for who in WHO}
    return errors | facts(found, WHO[0], Path(work.out))


def page(path: Path) -> str:
    """Markdown of all rows of the CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for name in FILES:
        own = [row for row in rows if row["file"] == name]
        cells = [_spread([float(row[who]) for row in own]) for who in WHO if own]
        lines.append(" | ".join([f"| {name}.json", str(len(own)), *cells]) + " |")
    commits = ", ".join(sorted({row["commit"][:10] for row in rows}))
    return HEAD + "\n".join(lines) + f"\n\nCommit {commits}.\n"


def _spread(values: list[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.5g} ± {statistics.stdev(values):.2g}" if len(values) > 1 else f"{mean:.5g}"


if __name__ == "__main__":
    main()
