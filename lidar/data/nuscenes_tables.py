"""nuScenes JSON tables, streamed: a record that is not wanted is never parsed.

The devkit loads all tables whole, 1.1 GB of sample_data alone for v1.0-trainval; one LiDAR needs a
twelfth of them.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.errors import UserError

_CHUNK_BYTES = 1 << 24
# A record is flat except for number arrays, so it ends at the first closing brace outside strings.
# Possessive quantifiers: an unfinished record at the end of a chunk fails at once.
_RECORD = re.compile(rb'\{(?:[^{}"]++|"(?:[^"\\]++|\\.)*+")*+\}')


def read_table(
    path: Path, *, key: str = "", wanted: Collection[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Records by token, optionally only those whose string field `key` is in `wanted`.

    Raises:
        UserError: The table is missing or malformed.
    """
    pattern = re.compile(rb'"' + key.encode() + rb'"\s*:\s*"([^"]*)"')
    tokens = None if wanted is None else {token.encode() for token in wanted}
    table: dict[str, dict[str, Any]] = {}
    try:
        for raw in _records(path):
            if tokens is not None:
                match = pattern.search(raw)
                if match is None or match[1] not in tokens:
                    continue
            record = json.loads(raw)
            table[record["token"]] = record
    except FileNotFoundError:
        raise UserError(
            f"the nuScenes table {path} is missing; unpack the metadata archive of "
            f"{path.parent.name} again"
        ) from None
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the nuScenes table {path} is malformed ({type(error).__name__}: {error}); unpack the "
            "metadata archive again"
        ) from None
    return table


def numbers(
    records: Collection[dict[str, Any]], field: str, shape: tuple[int, ...], table: Path
) -> Float64[ndarray, "records *shape"]:
    """A numeric field of each record.

    Args:
        records: Records of the table.
        field: Such as `translation`.
        shape: Of one record's value; () = a single number.
        table: Where the records come from, for messages.

    Raises:
        UserError: A record lacks the field or holds anything but that many finite numbers.
    """
    values = [record.get(field, "missing") for record in records]
    try:
        column = np.array(values, np.float64).reshape(len(values), *shape)
        finite = np.isfinite(column).reshape(len(values), -1).all(axis=1).tolist()
    except (ValueError, TypeError):
        finite = [_is_finite(value, shape) for value in values]
    if not all(finite):
        count = f"{shape[0]} finite numbers" if shape else "a finite number"
        raise _malformed(list(records)[finite.index(False)], field, count, table)
    return column


def quaternions_wxyz(
    records: Collection[dict[str, Any]], table: Path
) -> Float64[ndarray, "records 4"]:
    """The field `rotation` of each record, not normalised.

    Raises:
        UserError: It is no quaternion, or zero.
    """
    rotation = numbers(records, "rotation", (4,), table)
    zero = ~rotation.any(axis=1)
    if zero.any():
        raise _malformed(list(records)[int(zero.argmax())], "rotation", "a rotation", table)
    return rotation


def _is_finite(value: Any, shape: tuple[int, ...]) -> bool:
    try:
        row = np.array(value, np.float64)
    except (ValueError, TypeError):
        return False
    return row.shape == shape and bool(np.isfinite(row).all())


def _malformed(record: dict[str, Any], field: str, what: str, table: Path) -> UserError:
    return UserError(
        f"the nuScenes table {table} is malformed: {field} of the record {record['token']} is "
        f"{str(record.get(field, 'missing'))[:80]}, not {what}; unpack the metadata archive again"
    )


def _records(path: Path) -> Iterator[bytes]:
    """The bytes of each record of a table, read in chunks."""
    with path.open("rb") as table:
        rest = b""
        while chunk := table.read(_CHUNK_BYTES):
            rest += chunk
            end = 0
            for match in _RECORD.finditer(rest):
                yield match[0]
                end = match.end()
            rest = rest[end:]
    if rest.strip(b" \r\n\t,[]"):
        raise ValueError("it ends inside a record")
