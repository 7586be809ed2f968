"""The columns of the index: what is stored, and how they are mapped again."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foretell.errors import UserError
from lidar.data.structures import SensorSpec
from lidar.data.tables import BoxTable, LogTable, Source

INDEX_VERSION = 2
COLUMN_NAMES = [
    "timestamps_ns", "global_SE3_ego", "global_SE3_lidar", "is_key", "file", "class_file",
    "labelled", "box_start", "box", "box_velocity", "box_category", "box_track", "box_num_points",
]  # fmt: skip


class MappedColumns(Mapping[str, Any]):
    """Read-only columns of an index folder, mapped at first use and never pickled.

    A column that is missing or damaged is a `UserError`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._open:
            if name not in COLUMN_NAMES:
                raise KeyError(name)
            path = self.folder / f"{name}.npy"
            try:
                # mmap refuses an empty file body, such as the boxes of an unlabelled data set.
                column = np.load(path, mmap_mode=None if path.stat().st_size < 4096 else "r")
            except (OSError, EOFError, ValueError):
                raise UserError(
                    f"the index column {path} is missing or damaged; repeat `foretell lidar "
                    "prepare` on this data set"
                ) from None
            self._open[name] = column
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMN_NAMES)

    def __len__(self) -> int:
        return len(COLUMN_NAMES)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_open": {}}


def columns_of(logs: list[LogTable]) -> tuple[dict[str, Any], list[str]]:
    """Join the tables of all logs into flat columns.

    Returns:
        Columns by name, and the category names that `box_category` counts.
    """
    boxes = [log.boxes if log.boxes is not None else _no_boxes(len(log.files)) for log in logs]
    categories = sorted({name for table in boxes for name in table.category})
    number = {name: n for n, name in enumerate(categories)}
    per_sweep = np.concatenate(
        [np.bincount(b.sweep, minlength=len(log.files)) for b, log in zip(boxes, logs, strict=True)]
    )
    return {
        "timestamps_ns": np.concatenate([log.timestamps_ns for log in logs]),
        "global_SE3_ego": np.concatenate([log.global_SE3_ego for log in logs]),
        "global_SE3_lidar": np.concatenate([log.global_SE3_lidar for log in logs]),
        "is_key": np.concatenate([log.is_key for log in logs]),
        "file": np.array([name.encode() for log in logs for name in log.files], np.bytes_),
        "class_file": np.array(
            [name.encode() for log in logs for name in log.class_files or [""] * len(log.files)],
            np.bytes_,
        ),
        "labelled": np.concatenate([table.labelled for table in boxes]),
        "box_start": np.concatenate([[0], np.cumsum(per_sweep)]),
        "box": np.concatenate([table.boxes for table in boxes]),
        "box_velocity": np.concatenate([table.velocity_mps for table in boxes]),
        "box_category": np.array([number[name] for t in boxes for name in t.category], np.int16),
        "box_track": np.array([name.encode() for t in boxes for name in t.track_id], np.bytes_),
        "box_num_points": np.concatenate([table.num_points for table in boxes]),
    }, categories


def schema_of(source: Source, categories: list[str], fingerprint: str) -> dict[str, Any]:
    """Everything about the data set that is no column."""
    sensor = dataclasses.asdict(source.sensor)
    return {
        "version": INDEX_VERSION,
        "fingerprint": fingerprint,
        "logs": {log.name: len(log.files) for log in source.logs},
        "splits": source.splits,
        "skipped": source.skipped,
        "point_columns": list(source.columns),
        "categories": categories,
        "sensor": {**sensor, "flu_R_lidar": source.sensor.flu_R_lidar.tolist()},
    }


def sensor_of(values: dict[str, Any]) -> SensorSpec:
    """The sensor that a schema stores."""
    x_min, x_max, y_min, y_max = values["ego_box"]
    return SensorSpec(
        **{
            **values,
            "flu_R_lidar": np.array(values["flu_R_lidar"]),
            "ego_box": (x_min, x_max, y_min, y_max),
        }
    )


def _no_boxes(num_sweeps: int) -> BoxTable:
    return BoxTable(
        sweep=np.zeros(0, np.int64),
        boxes=np.zeros((0, 7)),
        velocity_mps=np.zeros((0, 2)),
        category=(),
        track_id=(),
        num_points=np.zeros(0, np.int64),
        labelled=np.zeros(num_sweeps, bool),
    )
