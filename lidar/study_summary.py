"""Markdown of a study: mean and spread over seeds, and which gains on moving points count."""

import statistics
from collections.abc import Sequence

from lidar.evaluation.moving_gain import CONDITIONS, MovingGain, moving_gain

Row = dict[str, str]


def summary(rows: list[Row], metrics: Sequence[str], *, reference: str = "") -> str:
    """Tables by fold, rays and horizon, then the verdicts of `moving_gain` where possible.

    Args:
        rows: Rows of the study's CSV.
        metrics: Columns that hold metrics.
        reference: Variant that the others are judged against besides copy-last.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["fold"]), []).append(row)
    lines: list[str] = []
    for fold in dict.fromkeys(fold for _, fold in groups):
        of_fold = {variant: members for (variant, f), members in groups.items() if f == fold}
        for place in dict.fromkeys(tuple(name.split("/")[2:-1]) for name in metrics):
            lines += table(of_fold, metrics, fold, place)
    for (variant, fold), members in groups.items():
        for horizon in judged_horizons(metrics):
            lines += verdicts(variant, fold, members, groups, horizon, reference)
    lines += across_folds(groups, metrics)
    for fold in dict.fromkeys(fold for _, fold in groups):
        counts = {row["windows"] for row in rows if row["fold"] == fold and row.get("windows")}
        if counts:
            where = f" in {fold}" if fold else ""
            lines += ["", f"Windows scored{where}: {', '.join(sorted(counts))}."]
    return "\n".join(lines) + "\n"


def table(
    variants: dict[str, list[Row]], metrics: Sequence[str], fold: str, place: tuple[str, ...]
) -> list[str]:
    """One table: a line per variant's model, then what else its rows scored there."""
    here = [name for name in metrics if tuple(name.split("/")[2:-1]) == place]
    columns = list(dict.fromkeys(name.split("/")[-1] for name in here))
    names = list(dict.fromkeys(name.split("/")[1] for name in here))
    lines = [f"**{' '.join([*place, fold]).strip()}**", "", _line(["", "n", *columns])]
    lines.append("|" + "---|" * (2 + len(columns)))
    told: set[tuple[str, ...]] = set()
    for who in names:
        for variant, members in variants.items():
            cells = []
            for column in columns:
                key = "/".join(("forecast", who, *place, column))
                cells.append(spread([float(row[key]) for row in members if row.get(key)]))
            # Baselines of variants that share windows and input repeat: one line serves them.
            if not any(cells) or (who != "model" and (who, *cells) in told):
                continue
            told.add((who, *cells))
            label = variant if who == "model" else f"{variant}: {who}"
            lines.append(_line([label, str(len(members)), *cells]))
    return [*lines, ""]


def verdicts(
    variant: str,
    fold: str,
    members: list[Row],
    groups: dict[tuple[str, str], list[Row]],
    horizon: str,
    reference: str,
) -> list[str]:
    """Lines on a variant against copy-last, and against the reference variant's same seeds."""
    lines = []
    rivals = [("copy_last", "copy_last", members)]
    if reference and reference != variant:
        rivals.append((reference, "model", groups.get((reference, fold), [])))
    for name, who, others in rivals:
        by_seed = {row["seed"]: row for row in others}
        shared = [row for row in members if row["seed"] in by_seed]
        if len(shared) < 2:
            continue
        gain = moving_gain(
            [_numbers(row) for row in shared],
            [_numbers(by_seed[row["seed"]]) for row in shared],
            horizon=horizon,
            rival=who,
        )
        place = f" ({fold})" if fold else ""
        lines += ["", f"{variant}{place} against {name} at {horizon}: {_told(gain)}"]
    return lines


def across_folds(groups: dict[tuple[str, str], list[Row]], metrics: Sequence[str]) -> list[str]:
    """All-ray L1 minus that of the fold's best copy-last, fold by fold: is the sign the same?"""
    names = [name for name in metrics if name.split("/")[2:3] == ["all"]]
    columns = [name for name in names if name.split("/")[1] == "model" and name.endswith("/l1_m")]
    folds = list(dict.fromkeys(fold for _, fold in groups))
    if len(folds) < 2 or not columns:
        return []
    heads = ["model minus best copy-last, all rays, L1 (m)", *folds, "sign"]
    lines = ["", _line(heads), "|" + "---|" * len(heads)]
    for variant in dict.fromkeys(variant for variant, _ in groups):
        for column in columns:
            place = column.split("/")[2:]
            rivals = [
                name
                for name in names
                if name.split("/")[1].startswith("copy_last") and name.split("/")[2:] == place
            ]
            cells, signs = [], set()
            for fold in folds:
                rows = groups.get((variant, fold), [])
                best = [min(float(row[n]) for n in rivals if row.get(n)) for row in rows]
                gaps = [float(row[column]) - low for row, low in zip(rows, best, strict=True)]
                cells.append(spread(gaps))
                signs |= {"below" if gap < 0 else "above" for gap in gaps}
            sign = f"{signs.pop()} everywhere" if len(signs) == 1 else "mixed"
            lines.append(_line([f"{variant}, {place[-2]}", *cells, sign if all(cells) else ""]))
    return lines


def judged_horizons(metrics: Sequence[str]) -> list[str]:
    """Horizons for which the metrics hold all that `moving_gain` asks for."""
    known = set(metrics)
    horizons = dict.fromkeys(name.split("/")[-2] for name in metrics)
    return [
        horizon
        for horizon in horizons
        if all(
            f"forecast/{who}/{where.split('/')[0]}/{horizon}/{where.split('/')[1]}" in known
            for who in ("model", "copy_last")
            for where in CONDITIONS
        )
    ]


def spread(values: list[float]) -> str:
    """`mean ± standard deviation`, the mean alone of one value or of equal ones (baselines)."""
    if not values:
        return ""
    if min(values) == max(values):
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def _told(gain: MovingGain) -> str:
    verdict = "the gain counts" if gain.counts else "no gain"
    parts = [
        f"{c.slice} {c.ours:.3f} against {c.rival:.3f} (spread of the difference {c.spread:.3f}"
        f"{'' if c.holds else ', fails'})"
        for c in gain.comparisons
    ]
    return f"{verdict}, {gain.num_seeds} seeds; " + "; ".join(parts)


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: float(cell) for name, cell in row.items() if name.startswith("forecast/") and cell
    }


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
