"""Rows for training, validation and test, and the windows of each part.

Windows of validation and test reach back into the part before for their context, so that every
row of a part is forecast; targets never leave their part.
"""

from dataclasses import dataclass

from forecasting.data.known_files import ETT_COLUMNS, SPLIT_ETTH, SPLIT_ETTM, SPLIT_SHARES
from foretell.errors import UserError

MONTH_HOURS = 30 * 24
ETT_MONTHS = (12, 4, 4)
TRAIN_SHARE, TEST_SHARE = 0.7, 0.2


@dataclass(frozen=True)
class Split:
    """Row ranges, each beginning where the one before ends; rows behind the test are unused."""

    train: range
    val: range
    test: range

    def part(self, name: str) -> range:
        """`train`, `val` or `test`."""
        rows: range = getattr(self, name)
        return rows


def ett_split(rows: int, *, rows_per_hour: int) -> Split:
    """12, 4 and 4 months of 30 days, as published for the ETT files.

    Raises:
        UserError: Fewer rows than that.
    """
    train, val, test = (months * MONTH_HOURS * rows_per_hour for months in ETT_MONTHS)
    if rows < train + val + test:
        raise UserError(
            f"the ETT split needs {train + val + test:,} rows, the file has {rows:,}: set "
            "data.split to shares"
        )
    return _consecutive(train, val, test)


def share_split(
    rows: int, *, train_share: float = TRAIN_SHARE, test_share: float = TEST_SHARE
) -> Split:
    """int(train_share n) rows, int(test_share n) at the end, what is between for validation."""
    train, test = int(train_share * rows), int(test_share * rows)
    return _consecutive(train, rows - train - test, test)


def usual_split(kind: str, rows: int, channels: tuple[str, ...], step_s: float) -> Split:
    """The split that a data set is published with.

    Args:
        kind: Of `KnownFile.split`, or auto: the ETT split where the columns are those of ETT.
        rows: n.
        channels: Names of the columns.
        step_s: Seconds between two rows.
    """
    if kind == "auto":
        ett = channels == ETT_COLUMNS
        hourly = SPLIT_ETTH if step_s == 3600 else SPLIT_ETTM if step_s == 900 else SPLIT_SHARES
        kind = hourly if ett else SPLIT_SHARES
    match kind:
        case "ett_hourly":
            return ett_split(rows, rows_per_hour=1)
        case "ett_quarter_hourly":
            return ett_split(rows, rows_per_hour=4)
        case _:
            return share_split(rows)


def few_shot(split: Split, percent: float, context: int) -> Split:
    """Keep the first floor((n - L) p / 100) + L training rows (released code).

    Raises:
        ValueError: The share is not in (0, 100].
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent must lie in (0, 100], got {percent}")
    rows = len(split.train)
    kept = int((rows - context) * percent / 100) + context if rows > context else rows
    start = split.train.start
    return Split(range(start, start + min(kept, rows)), split.val, split.test)


def window_starts(rows: range, context: int, horizon: int, *, first_row: int = 0) -> range:
    """First target rows of a part's windows: n - H + 1, or n - L - H + 1 where no rows are before.

    Args:
        rows: The part.
        context: L, rows before the target, which may lie in the part before.
        horizon: H.
        first_row: First row that may be seen.
    """
    return range(max(rows.start, first_row + context), rows.stop - horizon + 1)


def _consecutive(train: int, val: int, test: int) -> Split:
    return Split(range(train), range(train, train + val), range(train + val, train + val + test))
