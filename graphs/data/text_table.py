"""Columns of text files, plain or .gz; what is wrong with one is told with its line."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from foretell.errors import UserError

Kind = Literal["integer", "number", "text"]
_NAN = ["", "nan", "NaN", "NAN", "NA", "null"]
_TRUNCATED = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class TextTable:
    """Columns of a text file, each finite and without a gap, in the file's order of rows."""

    path: Path
    columns: Mapping[str, np.ndarray]
    """int64, float64 or object (text), [rows]."""
    records: Callable[[], Iterator[tuple[int, list[str]]]]
    """Reads the file again, for messages: number of the line and its fields."""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def fail(self, row: int, message: str) -> UserError:
        """The error of a row, with its line: `{path}: line 12: {message}`."""
        return row_error(self.path, self.records(), row, message)

    def check_not_negative(self, name: str) -> None:
        """Refuse the first row whose `name` is below 0.

        Raises:
            UserError: There is one.
        """
        if (negative := self[name] < 0).any():
            row = int(negative.argmax())
            value = self[name][row]
            raise self.fail(
                row, f"{name} {value:g} must not be negative; correct or remove the line"
            )


def read_text_table(
    path: Path,
    columns: Mapping[str, Kind],
    *,
    separator: str = ",",
    header_lines: int = 0,
    comment: str = "",
    only: Sequence[str] = (),
) -> TextTable:
    """Read columns by their place.

    Args:
        path: UTF-8 text; a name that ends in .gz is decompressed.
        columns: Name and kind of every column in the file's order; whole numbers may be written
            as 12.0, and numbers must be finite.
        separator: One character; empty = any white space.
        header_lines: Lines left out at the beginning.
        comment: A character that starts a comment.
        only: Names of the columns wanted, if not all; the others may hold anything.

    Raises:
        UserError: The file is missing, empty, truncated or no UTF-8, or a line does not fit.
    """

    def records() -> Iterator[tuple[int, list[str]]]:
        return text_records(path, separator, header_lines=header_lines, comment=comment)

    kinds = {name: columns[name] for name in (only or columns)}
    first = next(records(), None)
    if first is None:
        raise UserError(f"{path} holds no row of data; copy it again from its source")
    places = {name: place for place, name in enumerate(columns) if name in kinds}
    _check_record(path, *first, columns, kinds, exact=not only)
    options: dict[str, Any] = {
        "sep": separator or r"\s+",
        "skiprows": header_lines,
        "comment": comment or None,
        "names": list(columns),
        "usecols": list(places.values()) if only else None,  # else longer rows are errors
        "na_values": {name: _NAN for name, kind in kinds.items() if kind != "text"},
    }
    try:
        found = _parse(path, kinds, options)
    except (ValueError, OverflowError) as error:  # pandas' ParserError is a ValueError
        for line, record in records():
            _check_record(path, line, record, columns, kinds, exact=not only)
        raise UserError(f"{path} cannot be read: {error}; copy it again from its source") from None
    except _TRUNCATED as error:
        raise truncated(path, error) from None
    for name, values in found.items():
        gaps = ~np.isfinite(values) if kinds[name] != "text" else values == ""
        if gaps.any():
            line, record = _nth(records(), int(gaps.argmax()))
            _check_record(path, line, record, columns, kinds, exact=not only)
            raise UserError(f"{path}: line {line}: no {name}; correct or remove the line")
    return TextTable(path, found, records)


def text_records(
    path: Path, separator: str, *, header_lines: int = 0, comment: str = "", quotes: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Number of the line and fields of every row of data, one by one: slow, for messages.

    Raises:
        UserError: The file cannot be opened, is truncated or is no UTF-8.
    """
    with open_text(path) as lines:
        reader = csv.reader(lines, delimiter=separator or " ")
        number = 0
        try:
            if quotes:
                for fields in reader:
                    number = reader.line_num
                    if number > header_lines and fields:
                        yield number, fields
                return
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\r\n")
                if comment:
                    text = text.partition(comment)[0]
                fields = text.split(separator or None)
                if number > header_lines and text and fields:
                    yield number, fields
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from None
        except _TRUNCATED as error:
            raise truncated(path, error) from None
        except csv.Error as error:
            raise UserError(f"{path}: line {number + 1}: {error}; correct the line") from None


def comment_lines(path: Path, mark: str) -> list[str]:
    """The lines at the beginning of a file that begin with `mark`, without it.

    Raises:
        UserError: The file cannot be opened, is truncated or is no UTF-8.
    """
    found = []
    with open_text(path) as lines:
        try:
            for line in lines:
                if not line.startswith(mark):
                    break
                found.append(line.removeprefix(mark).strip())
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from None
        except _TRUNCATED as error:
            raise truncated(path, error) from None
    return found


def open_text(path: Path) -> io.TextIOWrapper:
    """Open UTF-8 text, plain or .gz, a byte order mark left out.

    Raises:
        UserError: The file is missing or must not be read.
    """
    try:
        opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or error}; check data.path") from None
    return io.TextIOWrapper(cast(BinaryIO, opened), encoding="utf-8-sig", newline="")


def row_error(
    path: Path, records: Iterator[tuple[int, list[str]]], row: int, message: str
) -> UserError:
    """The error of the row with this number, counted from 0, with its line in the file."""
    return UserError(f"{path}: line {_nth(records, row)[0]}: {message}")


def not_utf8(path: Path, error: UnicodeDecodeError) -> UserError:
    """The error of a file that is no UTF-8, with the first line that is not."""
    opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    with opened as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return UserError(
                    f"{path}: line {number} is not UTF-8 (byte 0x{line[found.start]:02x}); convert "
                    f"it, for instance with `iconv -f latin1 -t utf-8`"
                )
    return UserError(f"{path} is not UTF-8: {error.reason}; convert it")


def truncated(path: Path, error: Exception) -> UserError:
    """The error of a compressed file that ends too early or is damaged."""
    return UserError(
        f"{path} is cut short or damaged ({error}); copy it again from its source, or unpack it "
        "with gunzip to see how far it goes"
    )


def _parse(path: Path, kinds: Mapping[str, Kind], options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns by pandas' C parser; whole numbers written as 12.0 take a second pass."""
    import pandas as pd

    def read(integer: str) -> "pd.DataFrame":
        types = {"integer": integer, "number": "float64", "text": "str"}
        found: pd.DataFrame = pd.read_csv(
            path,
            header=None,
            index_col=False,
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,
            encoding="utf-8",
            dtype={name: types[kind] for name, kind in kinds.items()},
            **options,
        )
        return found

    try:
        frame = read("int64")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except (ValueError, OverflowError):
        frame = read("float64")
        for name, kind in kinds.items():
            values = frame[name].to_numpy()
            if kind == "integer":
                if not ((values == np.floor(values)) & (np.abs(values) < 2**53)).all():
                    raise
                frame[name] = values.astype(np.int64)
    found = {name: frame[name].to_numpy() for name in kinds}
    return {
        name: values.astype(object) if kinds[name] == "text" else values
        for name, values in found.items()
    }


def _check_record(
    path: Path,
    line: int,
    record: Sequence[str],
    columns: Mapping[str, Kind],
    kinds: Mapping[str, Kind],
    *,
    exact: bool,
) -> None:
    """Raise the error of a record that does not fit."""
    needed = max(place for place, name in enumerate(columns) if name in kinds) + 1
    if len(record) < needed or (exact and len(record) > len(columns)):
        raise UserError(
            f"{path}: line {line} has {len(record)} column(s), not {len(columns)} "
            f"({_few(list(columns))}); the line is damaged or the file is cut short: correct or "
            "remove it"
        )
    for name, text in zip(columns, record, strict=False):
        kind = kinds.get(name, "text")
        wanted = {"integer": "a whole number", "number": "a finite number", "text": ""}[kind]
        if kind != "text" and not _is_number(text, whole=kind == "integer"):
            raise UserError(
                f"{path}: line {line}: {name} {text!r} is not {wanted}; correct or remove the line"
            )


def _is_number(text: str, *, whole: bool) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    if whole and number.is_integer():
        return abs(number) < 2**63
    return math.isfinite(number) and not whole


def _few(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 8 else [*names[:3], "...", names[-1]])


def _nth(records: Iterator[tuple[int, list[str]]], row: int) -> tuple[int, list[str]]:
    for count, found in enumerate(records):
        if count == row:
            return found
    raise AssertionError(f"no row {row}")
