"""The page of forecast_table.csv: a table a file and context, horizons side by side."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from forecasting.published import HORIZONS, published
from foretell.seeds import mean_and_std

Rows = Sequence[dict[str, str]]
ORDER = (
    "last", "seasonal_naive", "drift", "ridge", "ridge_tuned", "nlinear", "dlinear",
    "dlinear_released", "patchtst",
    "lstm", "lssl", "mamba2", "aaren", "titans",
)  # fmt: skip
HEAD = """# Forecasters side by side

`python tools/reproduce/forecast_table.py --data FOLDER`, one thread a row. MSE / MAE of
standardised values over every window of the test rows, stride 1, none dropped; of trained models
mean ± sample standard deviation over seeds 0-2, the epoch chosen by validation. Every row was
scored once on the test, none was chosen by it. `ridge` is a closed form with a fixed penalty;
`ridge_tuned` chooses context (96, 336, 512, 720) and penalty by validation, so it stands with the
longest context alone; `dlinear_released` is trained as the released scripts do, at the context
that they have. Published: LTSF-Linear (2205.13504) and PatchTST/64 (2211.14730, which has
context 512), with loaders that drop the last incomplete batch. Seconds and peak memory are of all
horizons, on a shared machine.
"""


def page(path: Path, tuning: Path) -> str:
    """Markdown of all rows of the CSV, and of the trials."""
    rows = _read(path)
    parts = [HEAD]
    for data in dict.fromkeys(row["data"] for row in rows):
        for context in sorted({int(row["context"]) for row in rows if row["data"] == data}):
            own = [row for row in rows if (row["data"], row["context"]) == (data, str(context))]
            parts.append(_table(own, data, context))
    trials = _read(tuning) if tuning.is_file() else []
    if trials:
        parts.append(_trials(trials))
    commits = ", ".join(sorted({row["commit"][:10] for row in [*rows, *trials]}))
    return "\n".join(parts) + f"\n{len(rows)} rows; commits {commits}.\n"


def _table(rows: Rows, data: str, context: int) -> str:
    windows = {row["horizon"]: row["windows"] for row in rows}
    counts = ", ".join(f"{int(windows[str(h)]):,}" for h in HORIZONS if str(h) in windows)
    lines = [
        f"## {data}, context {context}",
        "",
        f"Test windows: {counts}.",
        "",
        f"| model | {' | '.join(map(str, HORIZONS))} | windows an epoch | seeds | seconds | MiB |",
        "|---|" + "---|" * (len(HORIZONS) + 4),
    ]
    for model in ORDER:
        own = [row for row in rows if row["model"] == model]
        if not own:
            lines.append(f"| {model} | " + " | ".join(["not run"] * len(HORIZONS)) + " | | | | |")
            continue
        cells = [_pair([row for row in own if row["horizon"] == str(h)]) for h in HORIZONS]
        seeds = len({row["seed"] for row in own if row["seed"]}) or "-"
        seconds = [float(row["seconds"]) for row in own]
        taken = f"{min(seconds):.1f}-{max(seconds):.1f}"
        peaks = [int(row["peak_mb"]) for row in own if row["peak_mb"]]
        sizes = [int(row["windows_per_epoch"]) for row in own if row["windows_per_epoch"]]
        epoch = _range(sizes)
        ends = (epoch, seeds, taken, max(peaks, default="-"))
        lines.append(f"| {model} | " + " | ".join(map(str, [*cells, *ends])) + " |")
        known = [published(data, model, context, h) for h in HORIZONS]
        if any(known):
            cells = ["" if pair is None else f"*{pair[0]:.3f} / {pair[1]:.3f}*" for pair in known]
            lines.append(f"| *{model}, published* | " + " | ".join(cells) + " | | | | |")
    chosen = {row["horizon"]: row["chosen"] for row in rows if row["chosen"]}
    if chosen:
        told = "; ".join(f"{horizon}: {chosen[horizon]}" for horizon in sorted(chosen, key=int))
        lines += ["", f"ridge_tuned chose {told} trials."]
    return "\n".join(lines) + "\n"


def _pair(rows: Rows) -> str:
    if not rows:
        return "not run"
    return " / ".join(_spread([float(row[name]) for row in rows]) for name in ("mse", "mae"))


def _spread(values: Sequence[float]) -> str:
    mean, std = mean_and_std(values)
    return f"{mean:.4f}" + ("" if std is None else f" ± {std:.4f}")


def _trials(rows: Rows) -> str:
    lines = [
        "## Trials",
        "",
        "Context 336, seed 0, scored on validation alone (MSE); the least mean over horizons of "
        "each file and model trains the rows above, networks of ETTm1 as on ETTh1. A trial is "
        "learning rate / batch / decay an epoch, with m where DLinear starts at the mean. Before "
        "the trials nlinear and dlinear had been scored on the test of ETTh1 and in part of ETTm1 "
        "under their first trial, whose DLinear missed its published row; those rows went.",
        "",
        "| data | horizon | model | trials |",
        "|---|---|---|---|",
    ]
    for group in dict.fromkeys(_group(row) for row in rows):
        own = sorted((row for row in rows if _group(row) == group), key=lambda r: int(r["trial"]))
        told = [
            f"{float(row['lr']):g} / {row['batch']} / {row['decay']}"
            f"{' m' if row['init'] == 'mean' else ''}: {float(row['val_mse']):.4f}"
            for row in own
        ]
        lines.append(f"| {' | '.join(group)} | {'; '.join(told)} |")
    return "\n".join(lines) + "\n"


def _group(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["data"], row["horizon"], row["model"]


def _read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "-"
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"
