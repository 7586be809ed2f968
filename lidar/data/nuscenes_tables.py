"""nuScenes JSON tables, streamed: a record that is not wanted is never parsed.

The devkit loads all tables whole, 1.1 GB of sample_data alone for v1.0-trainval; one LiDAR needs a
twelfth of them.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

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
