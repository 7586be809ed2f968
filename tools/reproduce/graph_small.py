"""Node regression on two recorded files and links of a random graph, then the table.

    python tools/reproduce/graph_small.py --data FOLDER [--only NAME ...] [--jobs N] [--smoke]

FOLDER holds twitter_tennis_rg17.json and england_covid.json; the random graph, a stochastic block
model, needs no file. One configuration each, not tuned. Rows go to docs/results/graph_small.csv; a
finished one is never run again.
"""

import argparse
import csv
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from graph_links import REPOSITORY, facts  # noqa: E402
from graph_links_table import spread  # noqa: E402

from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, CommandWork, Row, Study, run_command  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "graph_small.csv"
RUNS = REPOSITORY / "runs" / "graph_small"
REGRESSION = (
    "--task regression --model.version h --model.hidden_dim 32 --structure.lags 3 "
    "--optim.lr 0.003 --trainer.max_epochs 40"
)
SBM = (
    "--data.kind generated --data.generator.num_steps 30 --data.generator.edges_per_step 4000 "
    "--model.hidden_dim 32 --head.hidden_dim 32 --negatives.mult 5 --optim.lr 0.005 "
    "--trainer.max_epochs 30"
)
CONFIGURATIONS = {
    "tennis": (f"{REGRESSION} --data.path {{data}}/twitter_tennis_rg17.json", "mse", 3),
    "covid": (f"{REGRESSION} --data.path {{data}}/england_covid.json", "mse", 3),
    "sbm_h": (f"{SBM} --model.version h", "map", 5),
    "sbm_o": (f"{SBM} --model.version o", "map", 5),
}
"""Name -> flags, metric, seeds."""
WHO = {
    "evolvegcn": ("evolvegcn_h", "evolvegcn_o"), "decoder_only": ("decoder_only",),
    "static_gcn": ("static_gcn",), "gcn_gru": ("gcn_gru",),
    "untrained": ("last_value", "decayed_pairs"),
}  # fmt: skip
"""Column -> whose metric it is, the first that the run has."""
METRICS = (*WHO, "epochs", "best_epoch", "seconds", "commit")
HEAD = f"""# Node regression and links of a random graph

`python tools/reproduce/graph_small.py --data FOLDER`, one thread a row, one configuration each, not
tuned, epoch chosen by validation; mean ± sample standard deviation over seeds of the test.

- `tennis`, `covid`: `{REGRESSION}`.
  Mean squared error, lower is better; `decoder_only` has the same past values and no graph,
  untrained is the last value. In the tennis file graph and columns of a step belong to the day
  whose value is asked for, as it was published: not a clean forecast.
- `sbm_h`, `sbm_o`: `{SBM}`.
  MAP of all pairs, 1,000 nodes in three communities between which 20 nodes move at every step;
  untrained is `decayed_pairs`. The seed changes the training, not the graph.

| data | metric | seeds | {" | ".join(WHO)} |
|---|---|---|{"---|" * len(WHO)}
"""


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--only", nargs="+", default=list(CONFIGURATIONS), choices=CONFIGURATIONS)
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--smoke", action="store_true", help="one epoch, written to runs/")
    options = parser.parse_args()
    rows = [
        row(name, seed, options.data.resolve(), smoke=options.smoke)
        for name in options.only
        for seed in range(1 if options.smoke else CONFIGURATIONS[name][2])
    ]
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    Study(path, METRICS, jobs=options.jobs).run(rows)
    atomic_write(path.with_suffix(".md"), page(path))


def row(name: str, seed: int, data: Path, *, smoke: bool) -> Row:
    """One run of `foretell graphs train`."""
    out = RUNS / ("smoke" if smoke else "rows") / f"{name}_{seed}"
    flags, metric, _ = CONFIGURATIONS[name]
    command = (
        "graphs", "train", *(word.format(data=data) for word in flags.split()),
        "--seed", str(seed), "--resume", "auto", "--out", str(out),
    )  # fmt: skip
    if smoke:
        command += ("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1")
    work = partial(numbers, CommandWork(command, str(out)), metric)
    return Row(f"{name}/{seed}", {"name_of": name, "metric": metric, "seed": seed}, work)


def numbers(work: CommandWork, metric: str) -> Mapping[str, Cell]:
    """Run a row and pick its numbers."""
    found = run_command(work, threads=1)
    values: dict[str, Cell] = {}
    for column, names in WHO.items():
        keys = [f"test/fixed/{name}/{metric}/mean" for name in names]
        values[column] = next((found[key] for key in keys if key in found), None)
    who = next(name for name in WHO["evolvegcn"] if f"val/{name}/epochs" in found)
    return values | facts(found, who, Path(work.out))


def page(path: Path) -> str:
    """Markdown of all rows of the CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for name in dict.fromkeys(row["name_of"] for row in rows):
        own = [row for row in rows if row["name_of"] == name]
        cells = [spread([float(row[who]) for row in own if row[who]], ".4g") for who in WHO]
        lines.append("| " + " | ".join([name, own[0]["metric"], str(len(own)), *cells]) + " |")
    commits = ", ".join(sorted({row["commit"][:10] for row in rows}))
    return HEAD + "\n".join(lines) + f"\n\n{len(rows)} rows; commit {commits}.\n"


if __name__ == "__main__":
    main()
