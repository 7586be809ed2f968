"""An opened data set: its sensor, its splits and its logs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from foretell.errors import UserError, nearest
from lidar.config import DataConfig
from lidar.data.index_columns import MappedColumns, sensor_of
from lidar.data.log_view import LogView
from lidar.data.selectors import parse_selector
from lidar.data.structures import SensorSpec

_NUM_SHOWN = 3


@dataclass(frozen=True)
class Dataset:
    """All logs of an index."""

    root: Path
    sensor: SensorSpec
    """In the axes of the points (`data.frame`)."""
    splits: dict[str, list[str]]
    logs: dict[str, LogView]
    skipped: tuple[str, ...] = ()
    """What was missing or left out when the index was written."""

    @classmethod
    def from_schema(cls, config: DataConfig, folder: Path, schema: dict[str, Any]) -> "Dataset":
        """Open the columns that a schema.json describes."""
        delivered = sensor_of(schema["sensor"])
        rotation = delivered.flu_R_lidar if config.frame == "flu" else np.eye(3)
        sensor = _rotated_sensor(delivered, rotation)
        columns = MappedColumns(folder)
        logs, first = {}, 0
        for name, num_sweeps in schema["logs"].items():
            logs[name] = LogView(
                name=name,
                kind=config.kind,
                root=Path(config.root),
                sensor=sensor,
                point_columns=tuple(schema["point_columns"]),
                arrays=columns,
                categories=tuple(schema["categories"]),
                first=first,
                last=first + num_sweeps,
                points_R_delivered=rotation,
            )
            first += num_sweeps
        return cls(
            root=Path(config.root),
            sensor=sensor,
            splits=schema["splits"],
            logs=logs,
            skipped=tuple(schema.get("skipped", ())),  # an older index does not say
        )

    @property
    def left_out(self) -> str:
        """What was missing, the first few in words; empty where nothing was."""
        more = len(self.skipped) - _NUM_SHOWN
        tail = f"; and {more} more, `foretell lidar prepare` lists all" if more > 0 else ""
        return "; ".join(self.skipped[:_NUM_SHOWN]) + tail

    def log(self, name: str) -> LogView:
        """A whole log by name.

        Raises:
            UserError: There is no such log.
        """
        if name not in self.logs:
            names = list(self.logs)
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise UserError(
                f"no log {name!r} under {self.root}: it has {shown}{nearest(name, names)}"
            )
        return self.logs[name]

    def select(self, selectors: list[str], *, labels: bool = True) -> list[LogView]:
        """Logs and parts of logs, by the grammar of `DataConfig.splits`.

        Args:
            selectors: Split names, log names or `all`, each optionally cut as `name[a:b]` or
                `name[a%:b%]`.
            labels: Whether the boxes of the logs may be read.

        Raises:
            UserError: An unknown name, a malformed cut or an empty part.
        """
        chosen = []
        for text in selectors:
            selector = parse_selector(text)
            for name in self._names(selector.name):
                log = self.log(name)
                first, last = selector.bounds(len(log))
                if first >= last:
                    raise UserError(
                        f"{text!r} leaves no sweep of log {name!r}, which has {len(log)}; widen it"
                    )
                chosen.append(replace(log.cut(first, last), labels=labels))
        return chosen

    def _names(self, name: str) -> list[str]:
        if name == "all":
            return list(self.logs)
        if name in self.splits:
            return self.splits[name]
        if name in self.logs:
            return [name]
        allowed = ["all", *self.splits, *self.logs]
        shown = ", ".join(allowed[:10]) + (", ..." if len(allowed) > 10 else "")
        raise UserError(
            f"no split or log {name!r} under {self.root}: it has {shown}{nearest(name, allowed)}"
        )


def _rotated_sensor(sensor: SensorSpec, rotation: Float64[ndarray, "3 3"]) -> SensorSpec:
    """The same sensor in axes rotated by a multiple of a quarter turn."""
    x_min, x_max, y_min, y_max = sensor.ego_box
    corners = rotation[:2, :2] @ np.array([[x_min, x_max], [y_min, y_max]])
    low, high = corners.min(axis=1), corners.max(axis=1)
    return replace(
        sensor,
        flu_R_lidar=sensor.flu_R_lidar @ rotation.T,
        ego_box=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
    )
