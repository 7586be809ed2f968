"""Published benchmark files, told by their sha256; nothing of them is shipped."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from foretell.errors import UserError

SPLIT_ETTH, SPLIT_ETTM, SPLIT_SHARES = "ett_hourly", "ett_quarter_hourly", "shares"


class KnownFile(NamedTuple):
    """What is known of a published file."""

    name: str
    split: str
    """How its rows are usually split."""
    season: int
    """Steps of its strongest season."""


KNOWN = {
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066": KnownFile(
        "ETTh1", SPLIT_ETTH, 24
    ),
    "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e": KnownFile(
        "ETTm1", SPLIT_ETTM, 96
    ),
    "6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d": KnownFile(
        "exchange_rate", SPLIT_SHARES, 7
    ),
    "e2a4f4182e2311d45f72732a471dd680c43a992a92a6bc65cc1e4b34963e69c4": KnownFile(
        "weather", SPLIT_SHARES, 144
    ),
}
ETT_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
SAME_ROWS = ({"ETTh1", "ETTm1"}, {"ETTh2", "ETTm2"})
"""Of each pair the first is every fourth row of the second."""


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_same_rows(trained: Sequence[str], tested: str) -> None:
    """ETTh1 is every fourth row of ETTm1, so that one's test rows are in the other's training.

    Raises:
        UserError: Trained on one, tested on the other.
    """
    for pair in SAME_ROWS:
        others = pair & set(trained) - {tested} if tested in pair else set()
        if others:
            raise UserError(
                f"{tested} holds the rows of {others.pop()} at another step: a model that was "
                "trained on one cannot be tested on the other"
            )
