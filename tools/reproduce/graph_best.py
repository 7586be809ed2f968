"""The `_best` presets of graphs on the test, beside the decoder alone and the untrained baseline.

    python tools/reproduce/graph_best.py --data FOLDER [--only PART ...] [--seeds N] [--jobs N]

FOLDER holds out.opsahl-ucsocial and soc-sign-bitcoinotc.csv. One configuration a part, the winner
of graph_tuning.py, five seeds; each row is scored once on the test. Rows go to
docs/results/graph_best.csv; a finished one is never run again, a killed one goes on from its
checkpoint.
"""

import argparse
import csv
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from graph_links import FILES, REPOSITORY, facts  # noqa: E402
from graph_links_table import spread  # noqa: E402

from foretell.run import atomic_write  # noqa: E402
from foretell.study import Cell, CommandWork, Row, Study, run_command  # noqa: E402

RESULTS = REPOSITORY / "docs" / "results" / "graph_best.csv"
RUNS = REPOSITORY / "runs" / "graph_best"
SEEDS = 5
LINK, EDGE = ("map", "mrr"), ("auc", "minority_f1_val_threshold")
PARTS = {
    "uci_link": (LINK, "decayed_pairs"),
    "otc_link": (LINK, "decayed_pairs"),
    "otc_edge": (EDGE, "reputation"),
}
"""Preset without _best -> its two metrics, the untrained baseline."""
ALONE = {
    "uci_link": "",
    "otc_link": "",
    "otc_edge": "--optim.lr 0.003",
}
"""Flags that give the decoder alone the settings of its own best trial; empty = the preset's, so
that the row within the preset's run is it."""
PLACES = ("first", "second")
METRICS = (
    *(f"{who}_{place}" for who in ("model", "alone", "untrained") for place in PLACES),
    "val_first", "epochs", "best_epoch", "seconds", "commit",
)  # fmt: skip
HEAD = """# The best presets of graphs

`python tools/reproduce/graph_best.py --data FOLDER`, one thread a row. Fixed split, parameters
frozen, settings and epochs chosen on validation ([trials](graph_tuning.md)), each row scored once
on the test. Links: all ordered pairs, mean-rank ties; edge classes: AUC and F1 of the rarer class
at the threshold that is best on validation. Decoder alone: the same structure without a graph
embedding, once with the preset's settings in the same run, once with those of its own best trial;
what EvolveGCN adds is the difference to the latter, paired by seed. Mean ± sample standard
deviation over seeds.

| preset | seeds | metric | EvolveGCN | decoder alone, same settings | own settings | EvolveGCN adds | untrained | published |
|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501
PUBLISHED = {"uci_link": (".0270", ".1379"), "otc_link": (".0028", ".0968")}
"""The better EvolveGCN row of arXiv 1902.10191, table 2."""


def main() -> None:
    """Read the command line, run, write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many seeds")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, a thread each")
    parser.add_argument("--smoke", action="store_true", help="one epoch, written to runs/")
    options = parser.parse_args()
    rows = [
        row(part, seed, options.data.resolve(), alone=alone, smoke=options.smoke)
        for seed in range(1 if options.smoke else options.seeds)
        for part in options.only
        for alone in (False, True)
        if not alone or ALONE[part]
    ]
    path = RUNS / "smoke.csv" if options.smoke else RESULTS
    Study(path, METRICS, jobs=options.jobs).run(rows)
    atomic_write(path.with_suffix(".md"), page(path))


def row(part: str, seed: int, data: Path, *, alone: bool, smoke: bool) -> Row:
    """One seed of a preset, or of the decoder alone with its own settings."""
    configuration = f"{part}_alone" if alone else part
    out = RUNS / ("smoke" if smoke else "rows") / f"{configuration}_{seed}"
    command = (
        "graphs", "train", "--config", f"{part}_best", "--data.path", str(data / FILES[part[:3]]),
        "--eval.trained_baselines", "[]", "--seed", str(seed), "--resume", "auto",
        "--out", str(out),
    )  # fmt: skip
    if alone:
        command += ("--structure.embedding", "off", *ALONE[part].split())
    if alone or seed:  # what is not trained is the same in all rows
        command += ("--eval.baselines", "off")
    if smoke:
        command += ("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1")
    work = partial(numbers, CommandWork(command, str(out)), part)
    return Row(f"{configuration}/{seed}", {"configuration": configuration, "seed": seed}, work)


def numbers(work: CommandWork, part: str) -> Mapping[str, Cell]:
    """Run a row and pick its numbers; the decoder alone has no other beside it."""
    found = run_command(work, threads=1)
    measures, untrained = PARTS[part]
    trained = [name.split("/")[1] for name in found if name.endswith("/best_epoch")]
    who = next((name for name in trained if name != "decoder_only"), "decoder_only")
    names = {"model": who, "alone": None if trained == [who] else "decoder_only"}
    values: dict[str, Cell] = {}
    for column, name in (names | {"untrained": untrained}).items():
        for place, measure in zip(PLACES, measures, strict=True):
            key = f"test/fixed/{name}/{measure}/mean"
            values[f"{column}_{place}"] = found[key] if name == who else found.get(key)
    values["val_first"] = found[f"val/fixed/{who}/{measures[0]}"]
    return values | facts(found, who, Path(work.out))


def page(path: Path) -> str:
    """Markdown of all rows of the CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for part, (measures, _) in PARTS.items():
        own, alone = (
            {row["seed"]: row for row in rows if row["configuration"] == name}
            for name in (part, f"{part}_alone")
        )
        both = [seed for seed in own if seed in alone or not ALONE[part]]
        for place, measure in zip(PLACES, measures, strict=True):
            if both:
                pairs = [(own[seed], alone.get(seed, {})) for seed in both]
                lines.append(_line(part, measure, place, pairs))
    scored = len({row["configuration"] for row in rows})
    commits = ", ".join(sorted({row["commit"][:10] for row in rows}))
    return (
        HEAD + "\n".join(lines)
        + f"\n\n{len(rows)} rows of {scored} configurations, each scored once on the test; "
        f"commit {commits}.\n"
    )  # fmt: skip


def _line(
    part: str, measure: str, place: str, pairs: Sequence[tuple[dict[str, str], dict[str, str]]]
) -> str:
    model, same, untrained = (
        [float(own[f"{who}_{place}"]) for own, _ in pairs if own[f"{who}_{place}"]]
        for who in ("model", "alone", "untrained")
    )
    alone = [float(other[f"model_{place}"]) for _, other in pairs if other] or same
    gains = [one - other for one, other in zip(model, alone, strict=True)]
    published = PUBLISHED.get(part, ("-", "-"))[PLACES.index(place)]
    cells = [
        f"{part}_best", str(len(pairs)), measure, spread(model), spread(same), spread(alone),
        spread(gains, sign="+"), f"{untrained[0]:.4f}", published,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
