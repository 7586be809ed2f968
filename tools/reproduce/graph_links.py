"""Link prediction on UCI messages and Bitcoin OTC, every row that is missing, then the table.

    python tools/reproduce/graph_links.py --data FOLDER [--only NAME ...] [--jobs N] [--smoke]

FOLDER holds out.opsahl-ucsocial and soc-sign-bitcoinotc.csv. Rows go to
docs/results/graph_links.csv, one for each configuration and seed; a finished row is never run
again, a killed one goes on from its checkpoint. Every row is `foretell graphs train` with a preset,
scored once on the test: fixed split, frozen parameters, all ordered pairs, mean-rank ties. Nothing
is chosen by these rows.
"""

import argparse
import json
import logging
import os
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from graph_links_table import page  # noqa: E402

from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, CommandWork, Row, Study, run_command  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs" / "results" / "graph_links.csv"
RUNS = REPOSITORY / "runs" / "graph_links"
FILES = {"uci": "out.opsahl-ucsocial", "otc": "soc-sign-bitcoinotc.csv"}
EPOCHS = {"uci": 60, "otc": 40}
"""At most; the presets' patience may end a run before."""
SEEDS = {"uci": 5, "otc": 3}
METRICS = (
    "map", "mrr", "mrr_one_vs_many", "val_map", "val_mrr", "epochs", "best_epoch",
    "decayed_map", "decayed_mrr", "seconds", "commit",
)  # fmt: skip
CONFIGURATIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "uci_o": ("uci_link_o", "evolvegcn_o", ()),
    "uci_o_paper": ("uci_link_o_paper", "evolvegcn_o", ()),
    "uci_h": ("uci_link_h", "evolvegcn_h", ()),
    "uci_h_paper": ("uci_link_h_paper", "evolvegcn_h", ()),
    "uci_gcn": ("uci_link_o", "static_gcn", ("--model.version", "static", "--model.cell", "auto")),
    "otc_o": ("otc_link_o", "evolvegcn_o", ()),
    "otc_o_paper": ("otc_link_o_paper", "evolvegcn_o", ()),
}
"""Name -> preset, who, further flags: the list of all that is scored on the test."""


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, help="instead of all")
    parser.add_argument("--seeds", type=int, help="the first so many seeds instead of all")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--smoke", action="store_true", help="one epoch, written to runs/")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    options = parser.parse_args()
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    study = Study(path, METRICS, jobs=options.jobs)
    if not options.table:
        names = options.only or list(CONFIGURATIONS)
        most = options.seeds or max(SEEDS.values())
        rows = [
            row(name, seed, options.data.resolve(), smoke=options.smoke)
            for seed in range(1 if options.smoke else most)
            for name in names
            if seed < SEEDS[name[:3]]
        ]
        study.run(rows)
    if path == RESULTS:
        atomic_write(path.with_suffix(".md"), page(path))


def row(name: str, seed: int, data: Path, *, smoke: bool) -> Row:
    """One run of `foretell graphs train`."""
    preset, who, flags = CONFIGURATIONS[name]
    out = RUNS / ("smoke" if smoke else "rows") / f"{name}_{seed}"
    epochs = 1 if smoke else EPOCHS[name[:3]]
    command = (
        "graphs", "train", "--config", preset, "--data.path", str(data / FILES[name[:3]]),
        "--trainer.max_epochs", str(epochs), "--seed", str(seed), "--resume", "auto",
        "--eval.trained_baselines", "[]", "--out", str(out), *flags,
    )  # fmt: skip
    if smoke:
        command += ("--trainer.check_val_every_n_epoch", "1")
    work = partial(numbers, CommandWork(command, str(out)), who)
    return Row(f"{name}/{seed}", {"configuration": name, "seed": seed, "max_epochs": epochs}, work)


def numbers(work: CommandWork, who: str) -> Mapping[str, Cell]:
    """Run a row and pick its numbers."""
    found = run_command(work, threads=1)
    test, val = f"test/fixed/{who}", f"val/fixed/{who}"
    names = {
        "map": f"{test}/map/mean", "mrr": f"{test}/mrr/mean",
        "mrr_one_vs_many": f"{test}/mrr_one_vs_many/mean",
        "val_map": f"{val}/map", "val_mrr": f"{val}/mrr",
        "decayed_map": "test/fixed/decayed_pairs/map/mean",
        "decayed_mrr": "test/fixed/decayed_pairs/mrr/mean",
    }  # fmt: skip
    return {name: found[key] for name, key in names.items()} | facts(found, who, Path(work.out))


def facts(found: Mapping[str, Cell], who: str, out: Path) -> dict[str, Cell]:
    """Epochs, seconds of training in all sittings together, and the commit of a finished run."""
    history = (out / "metrics.csv").read_text().splitlines()
    place = history[0].split(",").index("train/elapsed_s")
    elapsed = [line.split(",")[place] for line in history[1:]]
    return {
        "epochs": found[f"val/{who}/epochs"],
        "best_epoch": found[f"val/{who}/best_epoch"],
        "seconds": round(float([value for value in elapsed if value][-1]), 1),
        "commit": json.loads((out / "env.json").read_text())["commit"] or commit(),
    }


def commit() -> str:
    """Of the checkout."""
    words = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
