"""The index: memory-mapped .npy columns and a schema.json beside (or away from) the data.

Opening costs milliseconds and little memory per process, because no source table is parsed and
columns are mapped when first used. The index knows its format version and a fingerprint of the
tables it was made from; any other version or fingerprint is refused.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.dataset import Dataset
from lidar.data.index_columns import INDEX_VERSION, columns_of, schema_of
from lidar.data.readers import fingerprint_files, read_source
from lidar.data.tables import Progress, check_log, no_progress

_SAMPLE_BYTES = 1 << 18
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogSummary:
    """One log of an index."""

    name: str
    sweeps: int
    key_frames: int
    duration_s: float
    boxes: int


@dataclass(frozen=True)
class IndexReport:
    """What `prepare_index` found and wrote."""

    folder: Path
    logs: tuple[LogSummary, ...]
    splits: dict[str, int]
    """Number of logs of each split."""
    skipped: tuple[str, ...]
    """What was missing or left out."""
    bytes_written: int
    duration_s: float


def index_folder(config: DataConfig) -> Path:
    """Where the index of a data set is kept; versions of one root do not share it."""
    base = Path(config.index) if config.index else Path(config.root) / ".foretell"
    return base / (config.version if config.kind == "nuscenes" else config.kind)


def prepare_command(config: DataConfig) -> str:
    """The command that writes this index."""
    version = f" --data.version {config.version}" if config.kind == "nuscenes" else ""
    index = f" --data.index {config.index}" if config.index else ""
    root = f" --data.root {config.root}"
    return f"foretell lidar prepare --data.kind {config.kind}{root}{version}{index}"


def prepare_index(config: DataConfig, *, progress: Progress = no_progress) -> IndexReport:
    """Read all source tables and write the index, whole or not at all.

    Raises:
        UserError: The data set is missing or inconsistent, or the index cannot be written.
    """
    started = time.monotonic()
    fingerprint = source_fingerprint(config)
    source = read_source(config, progress=progress)
    for done, log in enumerate(source.logs):
        progress("checks", done, len(source.logs))
        check_log(log, Path(config.root))
    columns, categories = columns_of(source.logs)
    schema = schema_of(source, categories, fingerprint)
    folder = index_folder(config)
    _write(folder, columns, schema)
    progress("index", 1, 1)
    return IndexReport(
        folder=folder,
        logs=tuple(
            LogSummary(
                name=log.name,
                sweeps=len(log.files),
                key_frames=int(log.is_key.sum()),
                duration_s=1e-9 * float(log.timestamps_ns[-1] - log.timestamps_ns[0]),
                boxes=0 if log.boxes is None else len(log.boxes.sweep),
            )
            for log in source.logs
        ),
        splits={name: len(logs) for name, logs in source.splits.items()},
        skipped=tuple(source.skipped),
        bytes_written=sum(column.nbytes for column in columns.values()),
        duration_s=time.monotonic() - started,
    )


def open_index(config: DataConfig) -> Dataset:
    """Open an existing index.

    Raises:
        UserError: It is absent, of another version or made from other tables; names the command.
    """
    folder = index_folder(config)
    command = prepare_command(config)
    try:
        schema = json.loads((folder / "schema.json").read_text())
        version, fingerprint = schema["version"], schema["fingerprint"]
    except FileNotFoundError:
        raise UserError(f"no index in {folder}; write it with: {command}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"the index in {folder} is damaged; repeat: {command}") from None
    if version != INDEX_VERSION:
        raise UserError(
            f"the index in {folder} has version {version}, this release reads {INDEX_VERSION}; "
            f"repeat: {command}"
        )
    if fingerprint != source_fingerprint(config):
        raise UserError(
            f"the index in {folder} was made from other files than {config.root} now holds; "
            f"repeat: {command}"
        )
    return Dataset.from_schema(config, folder, schema)


def open_dataset(config: DataConfig, *, progress: Progress = no_progress) -> Dataset:
    """Open the index of a data set and write it first if there is none.

    What is missing from the data set is then told in a warning.

    Raises:
        UserError: As `prepare_index` and `open_index`; an outdated index is never replaced.
    """
    new = not (index_folder(config) / "schema.json").is_file()
    if new:
        prepare_index(config, progress=progress)
    dataset = open_index(config)
    if new and dataset.left_out:
        _log.warning("missing under %s: %s", config.root, dataset.left_out)
    return dataset


def source_fingerprint(config: DataConfig) -> str:
    """Hash of the source tables (size, first and last 256 KiB) and of the sweep listings.

    Raises:
        UserError: The data set is missing.
    """
    tables, folders = fingerprint_files(config)
    root = Path(config.root)
    digest = hashlib.sha256(config.kind.encode())
    for path in tables:
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root)} {size} ".encode())
        with path.open("rb") as table:
            digest.update(table.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                table.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                digest.update(table.read())
    for listed in folders:
        names = os.listdir(listed) if listed.is_dir() else []
        ends = (min(names), max(names)) if names else ()
        digest.update(f"{listed.relative_to(root)} {len(names)} {ends} ".encode())
    return digest.hexdigest()


def _write(folder: Path, columns: Mapping[str, Any], schema: dict[str, Any]) -> None:
    """Fill a temporary folder beside the target and rename it into place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(
            f"cannot write the index to {folder.parent}: {error.strerror}; choose a writable "
            "folder with --data.index DIR"
        ) from None
    try:
        for name, column in columns.items():
            np.save(temporary / f"{name}.npy", column)
        (temporary / "schema.json").write_text(json.dumps(schema))
        temporary.chmod(0o755)
        replaced = temporary.with_name(temporary.name + ".old")
        if folder.exists():
            folder.rename(replaced)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process of the same run was faster; its index is as good as this one.
            if not (folder / "schema.json").is_file():
                raise
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write the index to {folder}: {error.strerror}; free space or choose another "
            "folder with --data.index DIR"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def report_dict(report: IndexReport) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {**asdict(report), "folder": str(report.folder)}
