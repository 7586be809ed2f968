"""The page of forecast_s2ip.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from foretell.seeds import mean_and_std

Rows = Sequence[dict[str, str]]
HEAD = """# S2IP-LLM beside its ablations

`python tools/reproduce/forecast_s2ip.py --data FOLDER --smollm2 DIR --full`, one thread a row.
Context 512, horizon 96; MSE / MAE of standardised values over every test window, none dropped; mean
± sample standard deviation over seeds. Budget of every trained row: 8 epochs of 1,000 training
windows of all channels, two trials (learning rates 1e-3 and 3e-4, batch 16, rate times .8 an epoch
from the third on) ranked on 512 evenly spaced validation windows, then three seeds of the better
one, scored once on the test. The epoch is chosen on the same 512 windows. `ridge_tuned` had 16
trials, which take seconds.

- Words and blocks of MiniLM (6 blocks, bidirectional) or of SmolLM2-135M (a lossy Q4_1 copy in
  bfloat16), the first layers of them. No package carries GPT-2, which is the published backbone.
- `none`: tokens go to the head. `attention`: one trained layer of attention. `random`: the same two
  blocks, drawn anew and frozen. `random_anchors`: anchors N(0, 25), frozen.
- `..._ridge`: a gated blend with the ridge map (`linear_path`), which is no part of the published
  model; g is the gate after training, the share of ridge. `linear_alone` is NLinear.
"""
PUBLISHED = {
    "ETTh1": (("S2IP-LLM, GPT-2, published", "0.366 / 0.396"),
              ("its released scripts rerun by a user", "0.3736 / 0.4003")),
    "ETTm1": (("S2IP-LLM, GPT-2, published", "0.288 / 0.346"),),
}  # fmt: skip
"""2403.05798, table 1; the rerun is of panzijie825/S2IP-LLM, issue 4."""


def page(path: Path) -> str:
    """Markdown of all rows of the CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = [HEAD]
    for data in dict.fromkeys(row["data"] for row in rows):
        parts.append(_table([row for row in rows if row["data"] == data], data))
    tests = [row for row in rows if row["part"] == "test" and row["seed"]]
    scored = len({(row["row"], row["trial"]) for row in tests})
    commits = ", ".join(sorted({row["commit"][:10] for row in rows}))
    parts.append(f"{scored} trained configurations were scored on the test. Commits {commits}.\n")
    return "\n".join(parts)


def _table(rows: Rows, data: str) -> str:
    lines = [
        f"## {data}",
        "",
        "| row | MSE / MAE | seeds | validation of the trials (1e-3, 3e-4) | trained weights | "
        "windows an epoch | seconds | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| *{who}* | *{value}* | | | | | | |" for who, value in PUBLISHED[data]]
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        tests = [row for row in own if row["part"] == "test"]
        full = [row for row in tests if row["trial"] == "2"]
        budget = [row for row in tests if row not in full]
        trials = sorted((row for row in own if row["part"] == "val"), key=lambda r: r["trial"])
        told = ", ".join(f"{float(row['val_mse']):.4f}" for row in trials) or "-"
        lines.append(_line(name, budget, told))
        if full:
            lines.append(_line(f"{name}, full pass", full, "-"))
    return "\n".join(lines) + "\n"


def _line(name: str, rows: Rows, trials: str) -> str:
    if not rows:
        return f"| {name} | not run | | {trials} | | | | |"
    first = rows[0]
    errors = " / ".join(_spread([float(row[key]) for row in rows]) for key in ("mse", "mae"))
    note = "; ".join(sorted({row["chosen"] for row in rows if row["chosen"]}))
    cells = (
        f"{name} ({note})" if note else name, errors, len(rows) if first["seed"] else "-", trials,
        f"{int(first['weights']):,}", first["windows_per_epoch"] or "-",
        round(max(float(row["seconds"]) for row in rows)), first["peak_mb"] or "-",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _spread(values: Sequence[float]) -> str:
    mean, std = mean_and_std(values)
    return f"{mean:.4f}" + ("" if std is None else f" ± {std:.4f}")
