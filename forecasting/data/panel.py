"""Many series in one long frame: a row a series and time, unequal lengths, unaligned stamps.

Two namings are known: `unique_id, ds, y` and `item_id, timestamp, target`; others are given. What
comes out keeps the names that went in. Every row is checked: stamps that are missing, doubled, off
the frequency or with gaps, values that are no numbers, columns that nobody declared.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, Shaped
from numpy.typing import NDArray

from foretell.errors import UserError, nearest

NAMINGS = (("unique_id", "ds", "y"), ("item_id", "timestamp", "target"))
FILLED = "ffill"
Fill = Literal["none", "ffill"]


@dataclass(frozen=True)
class Layout:
    """Which column is what."""

    id: str
    time: str
    target: str
    static: tuple[str, ...] = ()
    """The same in all rows of a series."""
    past: tuple[str, ...] = ()
    """Known up to the present."""
    future: tuple[str, ...] = ()
    """Known ahead, such as holidays."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (self.id, self.time, self.target, *self.static, *self.past, *self.future)


@dataclass(frozen=True)
class Panel:
    """Series behind each other; series k has the rows starts[k] .. starts[k + 1] - 1."""

    layout: Layout
    freq: Any
    """A pandas offset."""
    ids: Shaped[np.ndarray, " series"]
    """As in the frame, ascending."""
    starts: Int64[np.ndarray, " borders"]
    """First row of each series, and the number of rows at the end."""
    values: Float64[np.ndarray, " rows"]
    """The target."""
    stamps: pd.DatetimeIndex
    """Of the rows, with the frame's time zone."""
    static: Float64[np.ndarray, "series static"]
    past: Float64[np.ndarray, "rows past"]
    future: Float64[np.ndarray, "rows future"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int64[np.ndarray, " series"]:
        """Rows of each series."""
        return np.diff(self.starts)

    def series(self, place: int) -> Float64[np.ndarray, " _"]:
        """The target of one series."""
        return self.values[self.starts[place] : self.starts[place + 1]]

    def future_stamps(self, horizon: int) -> pd.DatetimeIndex:
        """The times that follow each series, series behind each other."""
        place, lasts = self.stamps[self.starts[1:] - 1].factorize()
        ahead = [pd.date_range(last, periods=horizon + 1, freq=self.freq)[1:] for last in lasts]
        taken = place[:, None] * horizon + np.arange(horizon)
        return pd.DatetimeIndex(ahead[0].append(ahead[1:])[taken.ravel()])


def recognise(
    frame: pd.DataFrame,
    *,
    id_col: str | None = None,
    time_col: str | None = None,
    target_col: str | None = None,
    static_cols: Sequence[str] = (),
    past_cols: Sequence[str] = (),
    future_cols: Sequence[str] = (),
) -> Layout:
    """Columns by the names given, else by one of the known namings.

    Raises:
        UserError: A column that is missing, or one that nobody declared.
    """
    names = [str(name) for name in frame.columns]
    given = (id_col, time_col, target_col)
    choices = [
        tuple(own or known for own, known in zip(given, naming, strict=True)) for naming in NAMINGS
    ]
    fitting = [chosen for chosen in choices if all(name in names for name in chosen)]
    if not fitting:
        lacking = [name for name in choices[0] if name not in names]
        raise UserError(
            f"the frame has no column {lacking[0]}; it has {', '.join(names)}: name its columns by "
            "id_col, time_col and target_col"
        )
    series_id, time, target = fitting[0]
    layout = Layout(
        series_id, time, target, tuple(static_cols), tuple(past_cols), tuple(future_cols)
    )
    doubled = {name for name in layout.columns if layout.columns.count(name) > 1}
    if doubled:
        raise UserError(f"column {min(doubled)} has two roles: give it one")
    for name in layout.columns:
        if name not in names:
            raise UserError(f"the frame has no column {name}{nearest(name, names)}")
    unknown = [name for name in names if name not in layout.columns]
    if unknown:
        raise UserError(
            f"nobody declared column {unknown[0]}: name it in static_cols, past_cols or "
            "future_cols, or drop it"
        )
    return layout


def read_panel(
    frame: pd.DataFrame, layout: Layout, freq: str | Any, *, fill: Fill = "none"
) -> Panel:
    """Sort, check and pack a long frame.

    Args:
        frame: Rows in any order.
        layout: Its columns.
        freq: A pandas frequency such as h, D, MS, 15min.
        fill: ffill = missing rows and values take the last known value; never a later one.

    Raises:
        UserError: The first breach with its series and stamp.
    """
    if not len(frame):
        raise UserError("the frame has no row")
    offset = read_freq(freq)
    frame = frame.loc[:, list(layout.columns)]
    times = _times(frame[layout.time], layout)
    missing_id = frame[layout.id].isna().to_numpy()
    if missing_id.any():
        raise UserError(f"column {layout.id} is empty in row {int(missing_id.argmax())}")
    codes, ids = pd.factorize(frame[layout.id], sort=True)
    order = np.lexsort((times.asi8, codes))
    codes, times, frame = codes[order], times[order], frame.iloc[order]
    _check_doubles(codes, times, ids)
    numbers = {
        name: _numbers(frame[name], name, codes, times, ids, fill)
        for name in (layout.target, *layout.past, *layout.future, *layout.static)
    }
    gaps = _gaps(codes, times, offset)
    if gaps.any():
        if fill == "none":
            _tell_gap(int(gaps.argmax()), codes, times, ids, offset)
        codes, times, numbers = _filled(codes, times, numbers, ids, offset)
    starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes)).astype(np.int64)
    return Panel(
        layout, offset, np.asarray(ids), starts, numbers[layout.target], times,
        _static(numbers, layout, starts, ids), _columns(numbers, layout.past, len(codes)),
        _columns(numbers, layout.future, len(codes)),
    )  # fmt: skip


def read_freq(freq: str | Any) -> Any:
    """The offset that a frequency names.

    Raises:
        UserError: There is none of that name.
    """
    try:
        return pd.tseries.frequencies.to_offset(freq)
    except (ValueError, TypeError):
        known = ("15min", "h", "D", "W", "MS", "QS", "YS", "B")
        raise UserError(
            f"freq {freq!r} is no frequency; such are {', '.join(known)}{nearest(str(freq), known)}"
        ) from None


def melt_wide(
    frame: pd.DataFrame, *, time_col: str = "date", naming: tuple[str, str, str] = NAMINGS[0]
) -> pd.DataFrame:
    """A column a series to a row a series and time.

    Args:
        frame: A column of times, all others series.
        time_col: Its name.
        naming: Columns of the result.

    Raises:
        UserError: No such column.
    """
    if time_col not in frame.columns:
        raise UserError(f"the frame has no column {time_col}{nearest(time_col, frame.columns)}")
    name, time, target = naming
    melted = frame.melt(id_vars=[time_col], var_name=name, value_name=target)
    return melted.rename(columns={time_col: time})[[name, time, target]]


def _times(column: pd.Series, layout: Layout) -> pd.DatetimeIndex:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the format is guessed; errors are told
            times = pd.DatetimeIndex(pd.to_datetime(column))
    except (ValueError, TypeError) as error:
        raise UserError(f"column {layout.time} does not hold times: {error}") from None
    if times.isna().any():
        raise UserError(f"column {layout.time} is empty in row {int(times.isna().argmax())}")
    return times.as_unit("ns")


def _check_doubles(codes: NDArray[np.int64], times: pd.DatetimeIndex, ids: Any) -> None:
    same = (np.diff(codes) == 0) & (np.diff(times.asi8) == 0)
    if same.any():
        row = int(same.argmax())
        raise UserError(
            f"series {ids[codes[row]]} has two rows at {times[row]} ({int(same.sum())} such rows "
            "in all): keep one"
        )


def _numbers(
    column: pd.Series,
    name: str,
    codes: NDArray[np.int64],
    times: pd.DatetimeIndex,
    ids: Any,
    fill: Fill,
) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    text = np.isnan(numbers) & column.notna().to_numpy()
    if text.any():
        row = int(text.argmax())
        raise UserError(
            f"series {ids[codes[row]]} has {name} = {column.iloc[row]!r} at {times[row]}, which is "
            "no number"
        )
    if fill == FILLED:
        numbers = pd.Series(numbers).groupby(codes).ffill().to_numpy()
    bad = ~np.isfinite(numbers)
    if bad.any():
        row = int(bad.argmax())
        advice = (
            "nothing is known before it: drop the rows before its first value"
            if fill == FILLED and np.isnan(numbers[row])
            else "give fill='ffill', or fill it yourself"
        )
        raise UserError(
            f"series {ids[codes[row]]} has no finite {name} at {times[row]} ({int(bad.sum())} such "
            f"cells in all): {advice}"
        )
    return numbers


def _gaps(codes: NDArray[np.int64], times: pd.DatetimeIndex, offset: Any) -> NDArray[np.bool_]:
    """Where the row after one of the same series is not one step later."""
    expected = times[:-1] + offset
    gaps: NDArray[np.bool_] = (np.diff(codes) == 0) & (expected.asi8 != times[1:].asi8)
    return gaps


def _tell_gap(
    row: int, codes: NDArray[np.int64], times: pd.DatetimeIndex, ids: Any, offset: Any
) -> None:
    expected, found = times[row] + offset, times[row + 1]
    where = f"series {ids[codes[row]]} goes from {times[row]} to {found}"
    if pd.date_range(times[row], found, freq=offset)[-1] != found:
        raise UserError(
            f"{where}, which is not on the frequency {offset.freqstr}: give the right freq"
        )
    raise UserError(f"{where}, and lacks {expected}: add the rows, or give fill='ffill'")


def _filled(
    codes: NDArray[np.int64],
    times: pd.DatetimeIndex,
    numbers: dict[str, NDArray[np.float64]],
    ids: Any,
    offset: Any,
) -> tuple[NDArray[np.int64], pd.DatetimeIndex, dict[str, NDArray[np.float64]]]:
    """Every step of every series; new rows take the values of the row before."""
    starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))
    new_codes, new_times, sources = [], [], []
    for code, (first, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        whole = pd.date_range(times[first], times[stop - 1], freq=offset)
        place = whole.searchsorted(times[first:stop])
        inside = place < len(whole)
        off = ~inside
        off[inside] = whole[place[inside]] != times[first:stop][inside]
        if off.any():
            raise UserError(
                f"series {ids[code]} has {times[first + int(off.argmax())]}, which is not on the "
                f"frequency {offset.freqstr}: give the right freq"
            )
        before = np.searchsorted(place, np.arange(len(whole)), side="right") - 1
        new_codes.append(np.full(len(whole), code))
        new_times.append(whole)
        sources.append(first + before)
    source = np.concatenate(sources)
    joined = pd.DatetimeIndex(new_times[0].append(new_times[1:]))
    return (
        np.concatenate(new_codes), joined, {name: row[source] for name, row in numbers.items()}
    )  # fmt: skip


def _static(
    numbers: dict[str, NDArray[np.float64]], layout: Layout, starts: NDArray[np.int64], ids: Any
) -> NDArray[np.float64]:
    found = np.empty((len(ids), len(layout.static)))
    for place, name in enumerate(layout.static):
        column = numbers[name]
        found[:, place] = column[starts[:-1]]
        changes = column != np.repeat(found[:, place], np.diff(starts))
        if changes.any():
            series = ids[int(np.searchsorted(starts, int(changes.argmax()), side="right")) - 1]
            raise UserError(
                f"column {name} is static, yet it changes in series {series}: declare it in "
                "past_cols or future_cols"
            )
    return found


def _columns(
    numbers: dict[str, NDArray[np.float64]], names: tuple[str, ...], rows: int
) -> NDArray[np.float64]:
    return np.stack([numbers[name] for name in names], 1) if names else np.empty((rows, 0))
