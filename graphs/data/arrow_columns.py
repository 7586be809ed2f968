"""Named columns of a CSV or Parquet file as an Arrow table; errors name the line or the row."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretell.errors import UserError, nearest
from graphs.data.text_table import open_text, row_error, text_records, truncated

SEPARATORS = (",", "\t", ";", "|")
PARQUET = (".parquet", ".pq")
NULLS = ["", "nan", "NaN", "NA", "null"]


@dataclass(frozen=True)
class ColumnSource:
    """Columns of a file by name, and how its rows are told to a user."""

    path: Path
    table: Any
    """pyarrow.Table."""
    fail: Callable[[int, str], UserError]
    """The error of a row, counted from 0."""


def open_columns(
    path: Path, names: Sequence[str], *, text: Sequence[str], time: str
) -> ColumnSource:
    """Read the named columns.

    Args:
        path: CSV (comma, tab, semicolon or | between columns; plain or .gz), or Parquet.
        names: Columns wanted.
        text: Those of a CSV that are kept as text; the others are numbers.
        time: The column of a CSV that is text where its first cell is no number.

    Raises:
        UserError: The file is missing, empty, cut short or of another kind; a column is missing or
            there twice; a cell is no number.
    """
    names = list(dict.fromkeys(names))
    if is_parquet(path):
        return _open_parquet(path, names)
    return _open_csv(path, names, text, time)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name or its first bytes."""
    if path.suffix in PARQUET:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or error}; check data.path") from None


def csv_header(path: Path, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """Separator and column names of a CSV: the separator that gives most of the wanted names.

    Raises:
        UserError: The file is empty.
    """
    best: tuple[int, int, str, list[str]] | None = None
    for separator in SEPARATORS:
        header = next(text_records(path, separator, quotes=True), None)
        if header is None:
            raise UserError(f"{path} is empty; give a file with a header and rows")
        found = [name.strip() for name in header[1]]
        score = (len(set(wanted) & set(found)), len(found))
        if best is None or score > best[:2]:
            best = (*score, separator, found)
    assert best is not None
    return best[2], best[3]


def _open_csv(path: Path, names: list[str], text: Sequence[str], time: str) -> ColumnSource:
    import pyarrow as pa
    from pyarrow import csv

    separator, header = csv_header(path, names)
    _check_names(path, header, names)

    def records() -> Iterator[tuple[int, list[str]]]:
        lines = text_records(path, separator, quotes=True)
        next(lines)
        return lines

    first = next(records(), None)
    if first is None:
        raise UserError(f"{path} holds no edge; give a file with at least one row")
    place = header.index(time)
    types = dict.fromkeys(names, pa.float64()) | dict.fromkeys(text, pa.string())
    if len(first[1]) > place and not is_number(first[1][place]):
        types[time] = pa.string()
    try:
        with open_text(path):
            pass  # a missing file has its own message
        table = csv.read_csv(
            str(path),
            read_options=csv.ReadOptions(column_names=header, skip_rows=_header_lines(path)),
            parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=names, null_values=NULLS
            ),
        )
    except pa.ArrowInvalid as error:
        _explain(path, records(), header, [name for name in names if types[name] == pa.float64()])
        raise UserError(f"{path} cannot be read: {error}; correct the file") from None
    except OSError as error:
        raise truncated(path, error) from None

    return ColumnSource(path, table, lambda row, message: row_error(path, records(), row, message))


def _header_lines(path: Path) -> int:
    """Lines up to the end of the header: blank lines may come first."""
    return next(text_records(path, ",", quotes=True))[0]


def _explain(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    header: list[str],
    numbers: list[str],
) -> None:
    """Raise the error of the first row that does not fit."""
    for line, record in records:
        if len(record) != len(header):
            raise UserError(
                f"{path}: line {line} has {len(record)} column(s), not the {len(header)} of the "
                "header; the line is damaged or the file is cut short: correct or remove it"
            )
        cells = dict(zip(header, record, strict=True))
        for name in numbers:
            if cells[name] not in NULLS and not is_number(cells[name]):
                raise UserError(
                    f"{path}: line {line}: {name} {cells[name]!r} is not a number; correct or "
                    "remove the line"
                )


def _open_parquet(path: Path, names: list[str]) -> ColumnSource:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        _check_names(path, file.schema_arrow.names, names)
        table = file.read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} cannot be read as Parquet ({error}); it is missing, damaged or cut short: "
            "write it again"
        ) from None
    return ColumnSource(path, table, lambda row, what: UserError(f"{path}: row {row + 1}: {what}"))


def _check_names(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            shown = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
            raise UserError(
                f"{path} has no column {name!r} among {shown}; name yours with data.columns"
                f"{nearest(name, found)}"
            )
        if list(found).count(name) > 1:
            raise UserError(f"{path} has the column {name!r} twice; rename one of them")


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
