"""`name`, `name[first:last]` and `name[0%:75%]`: which logs, and which part of them."""

import re
from dataclasses import dataclass

from foretell.errors import UserError

_SELECTOR = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<first>\d*%?):(?P<last>\d*%?)\])?")


@dataclass(frozen=True)
class Selector:
    """A split or log name and the part of each log that is meant."""

    name: str
    first: str = ""
    last: str = ""

    def bounds(self, num_sweeps: int) -> tuple[int, int]:
        """First and last (excluded) sweep of a log of `num_sweeps`.

        Percentages are rounded down, so that `[0%:75%]` and `[75%:100%]` share no sweep.
        """
        first = _position(self.first, num_sweeps) if self.first else 0
        last = _position(self.last, num_sweeps) if self.last else num_sweeps
        return min(first, num_sweeps), min(last, num_sweeps)


def parse_selector(text: str) -> Selector:
    """Read one selector.

    >>> parse_selector("train[0%:75%]").bounds(10)
    (0, 7)

    Raises:
        UserError: It is malformed.
    """
    match = _SELECTOR.fullmatch(text.strip())
    cuts = [] if match is None else [cut for cut in match.group("first", "last") if cut]
    if match is None or any(cut == "%" or _percent(cut) > 100 for cut in cuts):
        raise UserError(
            f"cannot read the log selection {text!r}; write a split or log name, name[first:last] "
            "in sweep numbers, or name[0%:75%]"
        )
    return Selector(match["name"].strip(), match["first"] or "", match["last"] or "")


def _percent(cut: str) -> int:
    return int(cut[:-1]) if cut.endswith("%") else 0


def _position(cut: str, num_sweeps: int) -> int:
    return num_sweeps * _percent(cut) // 100 if cut.endswith("%") else int(cut)
