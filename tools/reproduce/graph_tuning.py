"""Trials behind the `_best` presets of graphs, scored on the validation steps alone.

    python tools/reproduce/graph_tuning.py --data FOLDER [--only PART ...] [--jobs N] [--table]

FOLDER holds out.opsahl-ucsocial and soc-sign-bitcoinotc.csv. TRIALS is the whole search. Every row
is `foretell graphs train --eval.parts [val]` with a preset and flags; the same command trains the
decoder without a graph embedding, so that it has as many trials. Rows go to
docs/results/graph_tuning.csv; a finished one is never run again. No test step is scored.
"""

import argparse
import csv
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from graph_links import FILES, REPOSITORY, facts  # noqa: E402

from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, CommandWork, Row, Study, run_command  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "graph_tuning.csv"
RUNS = REPOSITORY / "runs" / "graph_tuning"
MEASURES = {
    "uci_link": ("map", "mrr"), "otc_link": ("map", "mrr"), "otc_edge": ("auc", "minority_ap"),
}  # fmt: skip
"""Part -> the metrics of validation that are kept; the first one ranks."""
METRICS = (
    "first", "second", "alone_first", "alone_second", "epochs", "best_epoch", "seconds", "commit",
)  # fmt: skip
COUNTS = "--structure.decays [0,0.3,0.6,0.9] "
LINK = (
    "--head.class_weights [] --negatives.kind uniform --negatives.past true "
    "--negatives.balance true --model.tbptt 1 "
)
WATCHED = "--trainer.check_val_every_n_epoch 3 --stop.negatives_share 1 "
UCI = LINK + "--trainer.max_epochs 24 " + WATCHED
UCI_LONG = LINK + "--trainer.max_epochs 60 " + WATCHED
OTC = (
    LINK + "--head.hidden_dim 100 --negatives.mult 50 --trainer.max_epochs 12 "
    "--trainer.check_val_every_n_epoch 2 --stop.negatives_share 0.05 "
)
OTC_LONG = (
    "--head.class_weights [] --negatives.past true --negatives.balance true --model.tbptt 1 "
    "--head.hidden_dim 100 --negatives.mult 50 --trainer.max_epochs 40 "
    "--trainer.check_val_every_n_epoch 4 --stop.negatives_share 0.05 "
)
EDGE = (
    "--structure.reputation true --model.tbptt 1 --stop.metric auc --trainer.max_epochs 30 "
    "--trainer.check_val_every_n_epoch 2 "
)
TRIALS = {
    "otc_edge/labels_alone": EDGE + "--optim.lr 0.003",
    "otc_edge/counts": EDGE + "--structure.decays [0.6,0.9] --optim.lr 0.003",
    "otc_edge/more_counts": EDGE + COUNTS + "--optim.lr 0.003",
    "otc_edge/h": EDGE + "--structure.decays [0.6,0.9] --optim.lr 0.003 --model.version h",
    "otc_edge/slow": EDGE + "--structure.decays [0.6,0.9] --optim.lr 0.001",
    "otc_edge/small": EDGE
    + "--structure.decays [0.6,0.9] --optim.lr 0.003 --model.hidden_dim 8 --head.hidden_dim 32",
    "otc_edge/decay": EDGE
    + "--structure.decays [0.6,0.9] --optim.lr 0.003 --optim.weight_decay 0.1",
    "uci_link/o": UCI + COUNTS + "--optim.lr 0.003",
    "uci_link/h": UCI + COUNTS + "--optim.lr 0.003 --model.version h",
    "uci_link/o_fast": UCI + COUNTS + "--optim.lr 0.01",
    "uci_link/h_slow": UCI + COUNTS + "--optim.lr 0.001 --model.version h",
    "uci_link/h_small": UCI
    + COUNTS
    + "--optim.lr 0.003 --model.version h --model.hidden_dim 16 --features.degree log_bins",
    "uci_link/o_two_counts": UCI + "--structure.decays [0.3,0.8] --optim.lr 0.003",
    "uci_link/o_as_published": "--structure.decays [0,0.3,0.6,0.9] --optim.lr 0.003 "
    "--model.tbptt 1 --trainer.max_epochs 24 --trainer.check_val_every_n_epoch 3 "
    "--stop.negatives_share 1",
    "otc_link/o": OTC + COUNTS + "--optim.lr 0.003",
    "otc_link/h": OTC + COUNTS + "--optim.lr 0.003 --model.version h",
    "otc_link/h_long": OTC_LONG
    + COUNTS
    + "--optim.lr 0.003 --model.version h --negatives.kind uniform",
    "otc_link/h_strata": OTC_LONG
    + COUNTS
    + "--optim.lr 0.003 --model.version h --negatives.kind strata",
    "uci_link/h_small_long": UCI_LONG
    + COUNTS
    + "--optim.lr 0.003 --model.version h --model.hidden_dim 16 --features.degree log_bins",
    "uci_link/o_small_long": UCI_LONG
    + COUNTS
    + "--optim.lr 0.003 --model.hidden_dim 16 --features.degree log_bins",
}
"""<part>/<trial> -> flags on top of the preset <part>_o_paper; the order is that of the runs."""
HEAD = """# Trials behind the `_best` presets of graphs

`python tools/reproduce/graph_tuning.py --data FOLDER`, seed 0, one thread a row. Figures are of the
validation steps, all pairs, frozen parameters; no test step was scored. "Without embedding" is the
same decoder with the same structure and no graph network, trained in the same run: it has had as
many trials. Flags stand on top of the preset `<part>_o_paper`.
"""


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    options = parser.parse_args()
    if not options.table:
        rows = [
            row(name, flags, options.data.resolve())
            for name, flags in TRIALS.items()
            if name.split("/")[0] in options.only
        ]
        Study(RESULTS, METRICS, jobs=options.jobs).run(rows)
    atomic_write(RESULTS.with_suffix(".md"), page(RESULTS))


def row(name: str, flags: str, data: Path) -> Row:
    """One trial with seed 0."""
    part = name.split("/")[0]
    out = RUNS / name
    command = (
        "graphs", "train", "--config", f"{part}_o_paper",
        "--data.path", str(data / FILES[part[:3]]), "--eval.parts", "[val]",
        "--eval.trained_baselines", "[]", "--eval.baselines", "off", "--resume", "auto",
        "--out", str(out), *flags.split(),
    )  # fmt: skip
    work = partial(numbers, CommandWork(command, str(out)), MEASURES[part])
    return Row(name, {"part": part, "flags": flags}, work)


def numbers(work: CommandWork, measures: tuple[str, str]) -> Mapping[str, Cell]:
    """Run a trial and pick its numbers; `alone` = the decoder without a graph embedding."""
    found = run_command(work, threads=1)
    who = next(name.split("/")[1] for name in found if name.endswith("/best_epoch"))
    values: dict[str, Cell] = {}
    for column, metric in zip(("first", "second"), measures, strict=True):
        values[column] = found[f"val/fixed/{who}/{metric}"]
        values[f"alone_{column}"] = found.get(f"val/fixed/decoder_only/{metric}")
    return values | facts(found, who, Path(work.out))


def page(path: Path) -> str:
    """Markdown of all rows of the CSV, the best of a part first."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for part, measures in MEASURES.items():
        own = sorted(
            (row for row in rows if row["part"] == part), key=lambda row: -float(row["first"])
        )
        first, second = measures
        lines += [
            f"\n## {part}: {len(own)} trials\n",
            f"| trial | flags | {first} | {second} | without embedding: {first} | {second} "
            "| epochs, best | minutes |",
            "|---|---|---|---|---|---|---|---|",
            *(_line(row) for row in own),
        ]
    return HEAD + "\n".join(lines) + "\n"


def _line(row: dict[str, str]) -> str:
    figures = (row[name] for name in ("first", "second", "alone_first", "alone_second"))
    cells = [
        row["name"].split("/")[1], f"`{row['flags']}`",
        *(f"{float(value):.4f}" if value else "-" for value in figures),
        f"{float(row['epochs']):.0f}, {float(row['best_epoch']):.0f}",
        f"{float(row['seconds']) / 60:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
