"""nuScenes annotations as canonical boxes in the LiDAR frame of their key sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lidar.data.nuscenes_tables import numbers, quaternions_wxyz, read_table
from lidar.data.tables import BoxTable
from lidar.geometry.se3 import invert, matrix_from_quaternion_wxyz

_MAX_GAP_S = 1.5


@dataclass(frozen=True)
class Annotations:
    """The annotation tables, joined."""

    table: Path
    """sample_annotation.json."""
    by_token: dict[str, dict[str, Any]]
    of_sample: dict[str, list[str]]
    """Sample token to annotation tokens."""
    category: dict[str, str]
    """Instance token to category name."""
    sample_time_s: dict[str, float]

    @classmethod
    def read(
        cls, folder: Path, names: tuple[str, ...], samples: dict[str, dict[str, Any]]
    ) -> "Annotations | None":
        """Read the tables sample_annotation, instance and category; None if one is absent."""
        if not all((folder / f"{name}.json").is_file() for name in names):
            return None
        by_token, instances, categories = (read_table(folder / f"{name}.json") for name in names)
        of_sample: dict[str, list[str]] = {token: [] for token in samples}
        for token, record in by_token.items():
            of_sample[record["sample_token"]].append(token)
        times_us = numbers(samples.values(), "timestamp", (), folder / "sample.json")
        return cls(
            table=folder / f"{names[0]}.json",
            by_token=by_token,
            of_sample=of_sample,
            category={
                token: str(categories[record["category_token"]]["name"])
                for token, record in instances.items()
            },
            sample_time_s=dict(zip(samples, (1e-6 * times_us).tolist(), strict=True)),
        )

    def velocity_mps(self, token: str) -> Float64[ndarray, "3"]:
        """Global velocity by the devkit's rule, NaN where it gives none.

        Centred difference of the previous and the next annotation of the object, or one-sided at
        the ends of its track; NaN when that spans more than 1.5 s (3 s if centred).
        """
        record = self.by_token[token]
        first = self.by_token[record["prev"]] if record["prev"] else record
        last = self.by_token[record["next"]] if record["next"] else record
        gap_s = self.sample_time_s[last["sample_token"]] - self.sample_time_s[first["sample_token"]]
        limit_s = 2 * _MAX_GAP_S if record["prev"] and record["next"] else _MAX_GAP_S
        if gap_s <= 0 or gap_s > limit_s:
            return np.full(3, np.nan)
        return np.asarray(np.subtract(last["translation"], first["translation"]) / gap_s)

    def of_log(
        self, key_samples: dict[int, str], global_SE3_lidar: Float64[ndarray, "sweeps 4 4"]
    ) -> BoxTable:
        """The boxes of one log.

        Args:
            key_samples: Sweep number of each key frame to its sample token.
            global_SE3_lidar: LiDAR poses of all sweeps of the log.

        Raises:
            UserError: A box is not numbers.
        """
        pairs = [
            (i, token) for i, sample in key_samples.items() for token in self.of_sample[sample]
        ]
        records = [self.by_token[token] for _, token in pairs]
        sweep = np.array([i for i, _ in pairs], np.int64)
        labelled = np.zeros(len(global_SE3_lidar), bool)
        labelled[list(key_samples)] = True
        lidar_SE3_global = invert(global_SE3_lidar[sweep])
        return BoxTable(
            sweep=sweep,
            boxes=boxes_in_lidar(
                lidar_SE3_global,
                translation=numbers(records, "translation", (3,), self.table),
                size_wlh=numbers(records, "size", (3,), self.table),
                rotation_wxyz=quaternions_wxyz(records, self.table),
            ),
            velocity_mps=np.einsum(
                "nij,nj->ni",
                lidar_SE3_global[:, :3, :3],
                np.array([self.velocity_mps(token) for _, token in pairs]).reshape(-1, 3),
            )[:, :2],
            category=tuple(self.category[record["instance_token"]] for record in records),
            track_id=tuple(str(record["instance_token"]) for record in records),
            num_points=numbers(records, "num_lidar_pts", (), self.table).astype(np.int64),
            labelled=labelled,
        )


def boxes_in_lidar(
    lidar_SE3_global: Float64[ndarray, "boxes 4 4"],
    *,
    translation: Float64[ndarray, "boxes 3"],
    size_wlh: Float64[ndarray, "boxes 3"],
    rotation_wxyz: Float64[ndarray, "boxes 4"],
) -> Float64[ndarray, "boxes 7"]:
    """Global nuScenes boxes (w l h, quaternion) as x y z l w h yaw in the LiDAR frame.

    The yaw is that of the heading axis projected onto the LiDAR's x-y plane.
    """
    rotation = lidar_SE3_global[:, :3, :3]
    centre = np.einsum("nij,nj->ni", rotation, translation) + lidar_SE3_global[:, :3, 3]
    heading = rotation @ matrix_from_quaternion_wxyz(rotation_wxyz)[:, :, :1]
    yaw = np.arctan2(heading[:, 1, 0], heading[:, 0, 0])
    return np.column_stack([centre, size_wlh[:, [1, 0, 2]], yaw])
