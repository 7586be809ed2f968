"""Times of a series: ascending, different, evenly spaced, or an error naming the first breach."""

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from foretell.errors import UserError

CALENDAR = ("MS", "ME", "QS", "QE", "YS", "YE")
"""Spacings that are not a number of seconds."""


def check_stamps(stamps: Shaped[np.ndarray, " rows"], *, place: str) -> None:
    """Refuse stamps that are missing, doubled, unsorted or unevenly spaced.

    Raises:
        UserError: The first breach, its stamp and the remedy.
    """
    if np.isnat(stamps).any():
        raise UserError(f"{place}: no stamp in row {int(np.isnat(stamps).argmax())}")
    if len(stamps) < 2:
        return
    steps = np.diff(stamps)
    zero = np.timedelta64(0, "ns")
    if (steps == zero).any():
        row = int((steps == zero).argmax())
        raise UserError(f"{place}: the stamp {shown(stamps[row])} stands twice: keep one row of it")
    if (steps < zero).any():
        row = int((steps < zero).argmax())
        raise UserError(
            f"{place}: {shown(stamps[row])} is followed by {shown(stamps[row + 1])}: sort the rows "
            "by time"
        )
    step = np.median(steps.astype(np.int64))
    uneven = steps.astype(np.int64) != step
    if uneven.any() and not _on_calendar(stamps):
        row = int(uneven.argmax())
        raise UserError(
            f"{place}: {shown(stamps[row])} is followed by {shown(stamps[row + 1])}, where the "
            f"usual step is {pd.Timedelta(int(step), 'ns')}: add the missing rows, or use the long "
            "format with fill: ffill"
        )


def shown(stamp: np.datetime64) -> str:
    """A stamp for a person."""
    return str(pd.Timestamp(stamp))


def _on_calendar(stamps: Shaped[np.ndarray, " rows"]) -> bool:
    """Whether they are consecutive months, quarters or years."""
    first, last = pd.Timestamp(stamps[0]), pd.Timestamp(stamps[-1])
    for freq in CALENDAR:
        expected = pd.date_range(first, last, freq=freq)
        if len(expected) == len(stamps) and (expected.to_numpy() == stamps).all():
            return True
    return False
