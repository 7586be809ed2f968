"""The page of tools/reproduce/graph_links.py: rows by configuration, beside what was published."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

PUBLISHED = {
    "uci_o": (0.0270, 0.1379), "uci_o_paper": (0.0270, 0.1379),
    "uci_h": (0.0126, 0.0899), "uci_h_paper": (0.0126, 0.0899), "uci_gcn": (0.0251, 0.1141),
    "otc_o": (0.0028, 0.0968), "otc_o_paper": (0.0028, 0.0968),
}  # fmt: skip
"""MAP and MRR of arXiv 1902.10191, table 2."""
HEAD = """# Links of UCI messages and Bitcoin OTC

`python tools/reproduce/graph_links.py --data FOLDER`, one thread a row. Fixed split of the released
code, parameters frozen, all ordered pairs of every test step, mean-rank ties, epoch chosen by
validation MAP (all positives and a seeded 2 % of the negatives, every 5 epochs); validation columns
are of all pairs. Mean ± sample standard deviation over seeds. `decayed pairs` needs no training:
its decay and weight of degrees are chosen on validation MAP. Published: arXiv 1902.10191, table 2,
one seed, ties ranked arbitrarily. `_paper` = LSTM in -O and a carried state.

| configuration | seeds | epochs run, best | val MAP | val MRR | test MAP | test MRR | one of 100 | published MAP, MRR | decayed pairs MAP, MRR | minutes |
|---|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501


def page(path: Path) -> str:
    """Markdown of all rows of the CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for name in dict.fromkeys(row["configuration"] for row in rows):
        own = [row for row in rows if row["configuration"] == name]
        lines.append(_line(name, own))
    commits = sorted({row["commit"][:10] for row in rows})
    scored = len({row["configuration"] for row in rows})
    return (
        HEAD + "\n".join(lines)
        + f"\n\n{len(rows)} rows of {scored} configurations, each scored once on the test; "
        f"commit {', '.join(commits)}.\n"
    )  # fmt: skip


def spread(values: Sequence[float], form: str = ".4f", *, sign: str = "") -> str:
    """Mean ± sample standard deviation; `-` of nothing, the mean alone of one."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):{sign}{form}}"
    return f"{mean} ± {statistics.stdev(values):{form}}" if len(values) > 1 else mean


def _line(name: str, rows: list[dict[str, str]]) -> str:
    def column(name: str) -> str:
        return spread([float(row[name]) for row in rows])

    epochs = sorted({int(float(row["epochs"])) for row in rows})
    best = ", ".join(str(int(float(row["best_epoch"]))) for row in rows)
    ran = "-".join(str(number) for number in dict.fromkeys((epochs[0], epochs[-1])))
    published = ", ".join(f"{value:.4f}" for value in PUBLISHED.get(name, ())) or "-"
    untrained = f"{float(rows[0]['decayed_map']):.4f}, {float(rows[0]['decayed_mrr']):.4f}"
    minutes = statistics.fmean(float(row["seconds"]) for row in rows) / 60
    cells = [
        name, str(len(rows)), f"{ran}, {best}", column("val_map"), column("val_mrr"),
        column("map"), column("mrr"), column("mrr_one_vs_many"), published, untrained,
        f"{minutes:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"
