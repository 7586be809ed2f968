"""Wide benchmark files: a column for each series, with or without a header and stamps.

`date,a,b,...` as in ETT, electricity, traffic and ILI files, or bare numbers as in the files of
LSTNet (exchange rates, weather). Comma-separated, also gzipped.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from forecasting.data.known_files import KNOWN, sha256
from forecasting.data.series_table import SeriesTable
from forecasting.data.stamps import check_stamps
from foretell.errors import UserError

_log = logging.getLogger(__name__)

STAMP_NAMES = ("date", "ds", "timestamp", "time", "datetime")


def read_wide(path: str | Path) -> SeriesTable:
    """Read a file of columns.

    Args:
        path: Text with commas, or the same gzipped (`.gz`).

    Raises:
        UserError: No such file, no numbers, gaps, stamps that are not evenly spaced.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no file {path}: --data.path names a CSV of series, one column each")
    digest = sha256(path)
    known = KNOWN.get(digest)
    frame = _read(path)
    stamped = str(frame.columns[0]).lower() in STAMP_NAMES
    columns = [str(name) for name in frame.columns[1 if stamped else 0 :]]
    if not columns:
        raise UserError(f"{path} has a column of stamps alone: add at least one of numbers")
    values = _numbers(frame[frame.columns[1 if stamped else 0 :]], path)
    if stamped:
        stamps = _parse(frame[frame.columns[0]], path)
        check_stamps(stamps, place=str(path))
    else:
        stamps = np.arange(len(frame)).astype("datetime64[s]").astype("datetime64[ns]")
    name = known.name if known else path.name.split(".")[0]
    _log.info(
        "%s: %d rows x %d columns%s%s", name, len(values), len(columns),
        "" if stamped else ", without stamps: made up",
        "" if known else f", not a published file (sha256 {digest})",
    )  # fmt: skip
    return SeriesTable(name, values, tuple(columns), stamps, stamps_made_up=not stamped)


def _read(path: Path) -> pd.DataFrame:
    try:
        first = pd.read_csv(path, nrows=1, header=None, dtype=str)
        headed = any(not _is_number(cell) for cell in first.iloc[0])
        frame = pd.read_csv(path, header=0 if headed else None, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as comma-separated text: {error}") from None
    if not len(frame):
        raise UserError(f"{path} has no row")
    frame.columns = [str(name) for name in frame.columns]
    if not headed:
        frame.columns = [f"series_{place}" for place in range(frame.shape[1])]
    return frame


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _numbers(frame: pd.DataFrame, path: Path) -> np.ndarray:
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            row = int(pd.to_numeric(frame[name], errors="coerce").isna().to_numpy().argmax())
            raise UserError(
                f"{path}: column {name!r} holds {frame[name].iloc[row]!r} in row {row}, "
                "not a number"
            )
    values = frame.to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        raise UserError(
            f"{path}: column {frame.columns[column]!r} has no finite number in row {row} "
            f"({int(bad.sum())} such cells in all): fill them first, or use the long format "
            "with fill: ffill"
        )
    return values


def _parse(column: pd.Series, path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the format is guessed; errors are told
            return pd.to_datetime(column).to_numpy(dtype="datetime64[ns]")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: column {column.name!r} does not hold times: {error}") from None
