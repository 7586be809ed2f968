"""Rows of the benchmark of the sequence blocks: printed as they come, kept for a Markdown page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import timing
import torch
from torch import Tensor

Times = dict[str, list[float]]
"""CPU milliseconds of every turn, by name."""
SAME, UNLIKE = "Same operator", "Different operator"
GROWTH, LATENCY, MEMORY = "Growth with length", "Step latency", "Peak memory"
COMPARED = ("ours", "peer")
NAMES = {
    GROWTH: ("longer", "shorter"),
    LATENCY: ("late", "early"),
    MEMORY: ("taken", "over"),
}
"""What a ratio is of, where it is not ours over a peer."""
SECTIONS = {
    SAME: "Ours and the peer compute the same numbers, which is checked before they are timed; the "
    "padded nn.LSTM runs the padding as well.",
    UNLIKE: "The peer computes something else; these ratios say what a choice of operator costs, "
    "not how well either is written.",
    GROWTH: "Whole layers, forward and backward: time at the longest length over time at a quarter "
    "of it. A linear block has 4. Wrappers are held to the growth of the module that they wrap.",
    LATENCY: "One `step` of one row without gradient, late in the sequence over early in it.",
    MEMORY: "SSD, forward and backward in a fresh process, inputs included, over the size of its "
    "inputs: tensors alive at one time, and the growth of the resident set, which has the "
    "libraries' buffers and the allocator's gaps as well.",
}


@dataclass(frozen=True)
class Row:
    """One ratio."""

    section: str
    target: str
    """P1 .. P11."""
    what: str
    size: str
    ours: str
    peer: str
    """What `ours` is divided by."""
    ratio: float
    """Of the smallest times."""
    spread: tuple[float, float] | None
    """Quartiles of the ratios turn by turn."""
    at_most: float | None
    """What the ratio should not exceed; none = only shown."""

    @property
    def shown(self) -> str:
        """Ratio with its spread."""
        low_high = "" if self.spread is None else " [{:.2f}, {:.2f}]".format(*self.spread)
        return f"{self.ratio:.2f}{low_high}"

    @property
    def verdict(self) -> str:
        """Whether the ratio is as small as it should be."""
        if self.at_most is None:
            return ""
        return "met" if self.ratio <= self.at_most else "missed"


@dataclass
class Report:
    """Everything that was measured."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: dict[str, dict[int, float]] = field(default_factory=dict)
    """Milliseconds of whole layers by length."""

    def add(self, row: Row) -> None:
        """Keep and print a row."""
        self.rows.append(row)
        label = " (different operator)" if row.section == UNLIKE else ""
        first, second = NAMES.get(row.section, COMPARED)
        bar = "" if row.at_most is None else f"  at most {row.at_most:g}: {row.verdict}"
        print(
            f"{row.target} {row.what}{label}, {row.size}: {first} {row.ours}  {second} {row.peer}  "
            f"ratio {row.shown}{bar}",
            flush=True,
        )

    def compare(
        self,
        target: str,
        times: Times,
        ours: str,
        peer: str,
        *,
        size: str,
        at_most: float | None = None,
        unlike: bool = False,
    ) -> None:
        """Add the row of two names in `times`, if both were timed."""
        if ours not in times or peer not in times:
            return
        self.add(
            Row(
                UNLIKE if unlike else SAME, target, f"{ours} / {peer}", size,
                f"{min(times[ours]):.1f} ms", f"{min(times[peer]):.1f} ms",
                *ratio(times[ours], times[peer]), at_most,
            )
        )  # fmt: skip

    def note(self, line: str) -> None:
        """Keep and print a remark."""
        self.notes.append(line)
        print(line, flush=True)

    def page(self, head: str, plot: str | None) -> str:
        """The Markdown page.

        Args:
            head: Command, threads, versions.
            plot: File name of the picture of growth.
        """
        parts = [f"# Sequence blocks: speed and memory\n\n{head}\n"]
        for section, about in SECTIONS.items():
            rows = sorted(
                (row for row in self.rows if row.section == section),
                key=lambda row: int(row.target[1:]),
            )
            if not rows:
                continue
            first, second = NAMES.get(section, COMPARED)
            parts.append(
                f"## {section}\n\n{about}\n\n| target | what | size | {first} | {second} | "
                "ratio [quartiles] | at most | |\n|---|---|---|---|---|---|---|---|"
            )
            for row in rows:
                bar = "-" if row.at_most is None else f"{row.at_most:g}"
                cells = (row.target, row.what, row.size, row.ours, row.peer, row.shown, bar)
                parts.append(f"| {' | '.join(cells)} | {row.verdict} |")
            parts.append("")
        if self.times:
            parts.append(self._layer_times(plot))
        if self.notes:
            parts.append("## Left out\n\n" + "\n".join(f"- {line}" for line in self.notes) + "\n")
        return "\n".join(parts)

    def _layer_times(self, plot: str | None) -> str:
        lengths = sorted({length for times in self.times.values() for length in times})
        lines = [
            "## Whole layers\n\nProjections and convolutions included; CPU ms, forward and "
            "backward, smallest of all turns. Reported, without a bar.\n\n| layer | "
            + " | ".join(f"{length:,} steps" for length in lengths)
            + " |\n|---"
            + "|---" * len(lengths)
            + "|"
        ]
        for name, times in self.times.items():
            cells = [f"{times[length]:.1f}" if length in times else "-" for length in lengths]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        picture = f"\n![Time against length of every layer, both axes logarithmic]({plot})\n"
        return "\n".join(lines) + "\n" + (picture if plot else "")


def ratio(ours: list[float], peer: list[float]) -> tuple[float, tuple[float, float]]:
    """Ratio of the smallest times, quartiles of the ratios turn by turn."""
    low, _, high = timing.spread([a / b for a, b in zip(ours, peer, strict=True)])
    return min(ours) / min(peer), (low, high)


def forward_backward(run: Callable[[], Tensor], leaves: Sequence[Tensor]) -> timing.Seconds:
    """Time of a forward pass and of the gradients of its leaves."""

    def both() -> Any:
        out = run()
        return out, torch.autograd.grad(out, list(leaves), torch.ones_like(out))

    return timing.timed(both)


def milliseconds(taken: dict[str, list[timing.Seconds]]) -> Times:
    """CPU times alone."""
    return {name: [seconds.cpu * 1e3 for seconds in runs] for name, runs in taken.items()}
