"""Tables of a benchmark: printed as they come, kept for a Markdown page."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import timing

Taken = dict[str, list[timing.Seconds]]
"""Every turn of `peer` and `ours`."""
RATIO = "| what | peer CPU s | ours CPU s | peer / ours | wall peer / ours | aim | |"


@dataclass
class Page:
    """Everything that was measured."""

    title: str
    parts: list[str] = field(default_factory=list)

    def section(self, title: str, about: str, header: str) -> None:
        """Begin a table: `header` is its first row."""
        columns = header.count("|") - 1
        self._add(f"\n## {title}\n\n{about}\n\n{header}\n|{'---|' * columns}")

    def row(self, *cells: object) -> None:
        """A row of the last table."""
        self._add(f"| {' | '.join(map(str, cells))} |")

    def rows(self, rows: Sequence[str]) -> None:
        """Rows that are written already."""
        self._add("\n".join(rows))

    def ratio(self, what: str, taken: Taken, *, aim: float | None = None, scale: float = 1) -> None:
        """A row of a table with the header RATIO.

        Args:
            what: The row.
            taken: From `take_turns`.
            aim: The ratio that should be reached.
            scale: The peer's run is one part in so many of the whole.
        """
        cells, medians = [], []
        peer = [seconds * scale for seconds in _of(taken["peer"], "cpu")]
        cells += [timing.show(peer), timing.show(_of(taken["ours"], "cpu"))]
        for clock in ("cpu", "wall"):
            turns = zip(_of(taken["peer"], clock), _of(taken["ours"], clock), strict=True)
            ratios = [scale * slow / quick for slow, quick in turns]
            medians.append(statistics.median(ratios))
            cells.append(timing.show(ratios, digits=2))
        met = "" if aim is None else "met" if medians[0] >= aim else "missed"
        self.row(what, *cells, "-" if aim is None else f">= {aim:g}", met)

    def at_most(self, what: str, taken: Sequence[timing.Seconds], limit: float | None) -> None:
        """A row of `| what | CPU s | at most | |`."""
        cpu = _of(taken, "cpu")
        met = "" if limit is None else "met" if statistics.median(cpu) <= limit else "missed"
        self.row(what, timing.show(cpu), "-" if limit is None else f"{limit:g}", met)

    def note(self, line: str) -> None:
        """A paragraph below the last table."""
        self._add(f"\n{line}")

    def text(self, head: str) -> str:
        """The page."""
        return f"# {self.title}\n\n{head}\n" + "\n".join(self.parts) + "\n"

    def _add(self, text: str) -> None:
        self.parts.append(text)
        print(text, flush=True)


def _of(taken: Sequence[timing.Seconds], clock: str) -> list[float]:
    return [getattr(seconds, clock) for seconds in taken]
