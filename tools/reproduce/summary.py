"""Markdown of all experiments: what each states beforehand, its table and its verdicts."""

import statistics
from collections.abc import Mapping, Sequence

from experiment import HARD, MARGIN, RESOLUTION, SEEDS, Experiment, judge

Rows = Sequence[Mapping[str, str]]

HEAD = f"""# Small reproductions of the papers' claims

`python tools/reproduce/run_all.py`, one thread a row; rows in `blocks_<task>.csv`, with the commit
that made them. Every section states its task before it was run. Numbers are mean ± sample standard
deviation over seeds {", ".join(map(str, SEEDS))}; accuracies are in percent. All models of a task
see the same sequences, the same number of steps and the same trials; validation chooses the trial,
the test is scored once.

How a claim is judged: differences are paired by seed, s is their sample standard deviation. "Above"
is reproduced if the mean difference exceeds s; "equal" if it is within s or {MARGIN:.0%} and s is
at most {RESOLUTION:.0%}, otherwise undecided. A difference inside the spread is no difference.
Where the weaker side reaches {HARD:.0%}, a claim that holds was too easy to tell.
"""


def summary(tables: Sequence[tuple[Experiment, Rows]]) -> str:
    """All sections; experiments without rows are told as not run."""
    overview = ["| claim | | |", "|---|---|---|"]
    for experiment, rows in tables:
        overview += [f"| {claim} | {numbers} | {answer} |" for claim, numbers, answer in
                     verdicts(experiment, rows)]  # fmt: skip
    return "\n".join([HEAD, *overview, "", *(section(*table) for table in tables)])


def section(experiment: Experiment, rows: Rows) -> str:
    """One experiment."""
    facts = {
        "claim of": experiment.source,
        "length": experiment.length,
        "chance": experiment.chance,
        "metric": experiment.metric,
        "training": experiment.trials,
        "expected": experiment.expected,
    }
    if experiment.earlier:
        facts["earlier list"] = experiment.earlier
    lines = [f"## {experiment.title}", "", *(f"- {key}: {text}" for key, text in facts.items())]
    lines += ["", *table(experiment, rows), ""]
    lines += [
        f"- {claim}: **{answer}**{f' ({numbers})' if numbers else ''}"
        for claim, numbers, answer in verdicts(experiment, rows)
    ]
    if rows:
        hours = sum(float(row["cpu_seconds"]) for row in rows) / 3600
        made = ", ".join(sorted({row["commit"] for row in rows}))
        lines += ["", f"{len(rows)} rows, {hours:.2f} CPU hours, commit {made}."]
    return "\n".join([*lines, ""])


def table(experiment: Experiment, rows: Rows) -> list[str]:
    """A line a variant."""
    heads = ["", "parameters", *experiment.columns.values(), "chosen trials", "seeds"]
    lines = [_line(heads), "|" + "---|" * len(heads)]
    for variant in experiment.variants:
        own = [row for row in rows if row["variant"] == variant]
        cells = [spread([float(row[column]) for row in own]) for column in experiment.columns]
        chosen = "; ".join(sorted({row["chosen"] for row in own}))
        size = f"{experiment.parameters(variant):,}"
        lines.append(_line([variant, size, *cells, chosen, str(len(own)) if own else "not run"]))
    return lines


def verdicts(experiment: Experiment, rows: Rows) -> list[tuple[str, str, str]]:
    """Claim, numbers and answer."""
    found = []
    for claim in experiment.claims:
        verdict = judge(claim, rows)
        if verdict is None:
            found.append((claim.text, "", "not run"))
            continue
        numbers = (
            f"{100 * verdict.one:.1f} against {100 * verdict.other:.1f}, "
            f"s {100 * verdict.spread:.1f}"
        )
        found.append((claim.text, numbers, verdict.answer))
    return found


def spread(values: Sequence[float]) -> str:
    """`mean ± standard deviation` in percent."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
