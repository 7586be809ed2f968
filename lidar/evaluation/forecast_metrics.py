"""Metrics of point-cloud forecasts. All of them: lower is better.

Per frame, with measured ranges r_g and predicted ranges r_p of the same R rays, clouds P
(predicted) and G (measured) in the t0 LiDAR frame:

| name | unit | formula |
|---|---|---|
| `l1_m` | m | mean over rays of abs(r_g - r_p) (the Argoverse 2 forecasting kit's per-ray form) |
| `l1_median_m` | m | median over rays of abs(r_g - r_p) |
| `absrel_pct` | % | 100 x mean over rays of abs(r_g - r_p) / r_g |
| `l1_4docc_m` | m | the 4D-Occ code's L1 for clouds with other rays, see `l1_4docc` |
| `absrel_4docc_pct` | % | 100 x the same matching, each distance divided by the clamped r_g |
| `cd_m2` | m^2 | 1/2 (mean_p min_g abs(p - g)^2 + mean_g min_p abs(g - p)^2): squared and halved |
| `nfcd_m2` | m^2 | `cd_m2` after cropping both clouds to a box |

A reported value is the mean of the per-frame values over frames ("frames" says how many).
Empty input: a frame without rays, or with an empty (cropped) cloud on either side, has no value
(None); the accumulator skips and counts it, and a mean over no frame is absent from the result.
The 4D-Occ and ViDAR code score an empty cropped cloud 0.0, i.e. perfect: `compat=True` does too.
NaN or infinite predictions raise ValueError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

FORMULA_VERSION = "1"
"""Changes whenever a formula of this module does; printed with every table."""

Box = tuple[float, float, float, float, float, float]
"""x_min y_min z_min x_max y_max z_max in metres."""

BOX_4DOCC: Box = (-70.0, -70.0, -4.5, 70.0, 70.0, 4.5)
"""Crop and clamping box of the 4D-Occ code."""

MIN_RANGE_4DOCC_M = 1e-2
"""Shorter rays are ignored by the 4D-Occ code."""


def check_finite(predicted: Float[ndarray, "..."], place: str = "prediction") -> None:
    """Raise ValueError when a prediction has a NaN or infinite element."""
    bad = int(np.size(predicted) - np.isfinite(predicted).sum())
    if bad:
        raise ValueError(
            f"{place} has {bad} NaN or infinite values of {np.size(predicted)}: "
            "a forecast needs one finite range per ray"
        )


def ray_metrics(
    predicted_m: Float[ndarray, " rays"], measured_m: Float[ndarray, " rays"]
) -> dict[str, float | None]:
    """L1, its median and relative L1 over the rays of one frame; None without rays.

    >>> ray_metrics(np.array([1.0, 2.0, 5.0]), np.array([1.0, 4.0, 4.0]))
    {'l1_m': 1.0, 'l1_median_m': 1.0, 'absrel_pct': 25.0}
    """
    check_finite(predicted_m)
    if not len(measured_m):
        return {"l1_m": None, "l1_median_m": None, "absrel_pct": None}
    error_m = np.abs(predicted_m.astype(np.float64) - measured_m)
    return {
        "l1_m": float(error_m.mean()),
        "l1_median_m": float(np.median(error_m)),
        "absrel_pct": float(100 * (error_m / measured_m).mean()),
    }


def in_box(points: Float[ndarray, "points 3"], box: Box) -> Bool[ndarray, " points"]:
    """Points inside an axis-aligned box, faces included."""
    return np.asarray(((points >= box[:3]) & (points <= box[3:])).all(axis=1))


def chamfer_m2(
    predicted: Float[ndarray, "predicted 3"],
    measured: Float[ndarray, "measured 3"],
    *,
    box: Box | None = None,
    compat: bool = False,
) -> float | None:
    """Chamfer distance in m^2: squared nearest-neighbour distances, both means, halved.

    Args:
        predicted: Predicted cloud P, metres.
        measured: Measured cloud G, metres, same frame.
        box: Crop both clouds first (NFCD); none = whole clouds.
        compat: Score an empty cloud 0.0 as the 4D-Occ code does, instead of None.

    Returns:
        Square metres, or None when a cloud is empty.
    """
    check_finite(predicted)
    if box is not None:
        predicted, measured = predicted[in_box(predicted, box)], measured[in_box(measured, box)]
    if not len(predicted) or not len(measured):
        return 0.0 if compat else None
    to_measured_m = cKDTree(measured).query(predicted)[0]
    to_predicted_m = cKDTree(predicted).query(measured)[0]
    return float((np.mean(to_measured_m**2) + np.mean(to_predicted_m**2)) / 2)


class CloudPair:
    """Two clouds whose nearest neighbours are searched once and serve every crop of them.

    A point whose nearest neighbour survives a crop keeps it; only the others search again. Equal to
    `chamfer_m2` of the cropped clouds, several times cheaper for several crops.

    Args:
        predicted: Predicted cloud, metres.
        measured: Measured cloud, same frame.
    """

    def __init__(
        self, predicted: Float[ndarray, "predicted 3"], measured: Float[ndarray, "measured 3"]
    ) -> None:
        check_finite(predicted)
        self.predicted, self.measured = predicted, measured

    def chamfer_m2(
        self,
        predicted_kept: Bool[ndarray, " predicted"],
        measured_kept: Bool[ndarray, " measured"],
    ) -> float | None:
        """`cd_m2` of the kept points; None when a side has none."""
        if not predicted_kept.any() or not measured_kept.any():
            return None
        forth_m = _kept_distance(
            self._to_measured, self.predicted, predicted_kept, self.measured, measured_kept
        )
        back_m = _kept_distance(
            self._to_predicted, self.measured, measured_kept, self.predicted, predicted_kept
        )
        return float((np.mean(forth_m**2) + np.mean(back_m**2)) / 2)

    @cached_property
    def _to_measured(self) -> tuple[ndarray, ndarray]:
        return _nearest(self.predicted, self.measured)

    @cached_property
    def _to_predicted(self) -> tuple[ndarray, ndarray]:
        return _nearest(self.measured, self.predicted)


def _nearest(
    source: Float[ndarray, "source 3"], target: Float[ndarray, "target 3"]
) -> tuple[Float[ndarray, " source"], Int[ndarray, " source"]]:
    """Distance to, and index of, the nearest target point of every source point."""
    distance_m, index = cKDTree(target).query(source)
    return np.asarray(distance_m), np.asarray(index)


def _kept_distance(
    nearest: tuple[ndarray, ndarray],
    source: Float[ndarray, "source 3"],
    source_kept: Bool[ndarray, " source"],
    target: Float[ndarray, "target 3"],
    target_kept: Bool[ndarray, " target"],
) -> Float[ndarray, " kept"]:
    distance_m, index = nearest[0][source_kept], nearest[1][source_kept]
    lost = ~target_kept[index]
    if lost.any():
        distance_m[lost] = _nearest(source[source_kept][lost], target[target_kept])[0]
    return np.asarray(distance_m)


def l1_4docc(
    predicted: Float[ndarray, "predicted 3"],
    measured: Float[ndarray, "measured 3"],
    origin: Float[ndarray, "3"],
) -> dict[str, float | None]:
    """Ray errors of the 4D-Occ code, for a predicted cloud that does not share the true rays.

    Every measured ray takes the range of the prediction nearest in (theta, phi), where
    theta = atan2(x, y) and phi = atan2(z, y), sic, without wrapping. Both end points are clamped
    into `BOX_4DOCC` along the ray; the sum of their distances is divided by the number of
    measured rays longer than 1e-2 m, including those dropped later (clamped length <= 1e-2 m, or
    missing the box). Source: `compute_ray_errors` of the 4D-Occ evaluation code (CVPR 2023), whose
    tolerance of 2 cm around the box (a point that close outside is not clamped) is left out.

    Args:
        predicted: Predicted cloud, t0 LiDAR frame.
        measured: Measured cloud, same frame.
        origin: Sensor position of the frame.
    """
    check_finite(predicted)
    to_predicted, to_measured = predicted - origin, measured - origin
    predicted_m = np.linalg.norm(to_predicted, axis=1)
    measured_m = np.linalg.norm(to_measured, axis=1)
    usable = predicted_m > MIN_RANGE_4DOCC_M
    to_predicted, predicted_m = to_predicted[usable], predicted_m[usable]
    usable = measured_m > MIN_RANGE_4DOCC_M
    to_measured, measured_m = to_measured[usable], measured_m[usable]
    if not len(predicted_m) or not len(measured_m):
        return {"l1_4docc_m": None, "absrel_4docc_pct": None}

    nearest = cKDTree(_angles_4docc(to_predicted)).query(_angles_4docc(to_measured))[1]
    near_m, far_m = _box_span(origin, to_measured / measured_m[:, None], BOX_4DOCC)
    hits = (near_m <= far_m) & (far_m >= 0)
    start_m = np.maximum(near_m, 0.0)
    clamped_measured_m = np.clip(measured_m, start_m, far_m)
    clamped_predicted_m = np.clip(predicted_m[nearest], start_m, far_m)
    length_m = clamped_measured_m - start_m
    kept = hits & (length_m > MIN_RANGE_4DOCC_M)
    error_m = np.abs(clamped_measured_m - clamped_predicted_m)[kept]
    return {
        "l1_4docc_m": float(error_m.sum() / len(measured_m)),
        "absrel_4docc_pct": float(100 * (error_m / length_m[kept]).sum() / len(measured_m)),
    }


def _angles_4docc(rays: Float[ndarray, "rays 3"]) -> Float[ndarray, "rays 2"]:
    return np.stack(
        [np.arctan2(rays[:, 0], rays[:, 1]), np.arctan2(rays[:, 2], rays[:, 1])], axis=1
    )


def _box_span(
    origin: Float[ndarray, "3"], direction: Float[ndarray, "rays 3"], box: Box
) -> tuple[Float[ndarray, " rays"], Float[ndarray, " rays"]]:
    """Distances at which rays enter and leave a box; enter > leave where they miss it."""
    low, high = np.array(box[:3]), np.array(box[3:])
    # A component of 0 would give 0/0 on a face; 1e-30 keeps the sign and any finite distance.
    safe = np.where(np.abs(direction) < 1e-30, 1e-30, direction)
    to_low, to_high = (low - origin) / safe, (high - origin) / safe
    near_m = np.minimum(to_low, to_high).max(axis=1)
    far_m = np.maximum(to_low, to_high).min(axis=1)
    return near_m, far_m


@dataclass
class MetricMeans:
    """Sums and counts of per-frame values: add frames, merge processes, read the means."""

    total: dict[str, float] = field(default_factory=dict)
    """Sum of each metric over its frames."""
    frames: dict[str, int] = field(default_factory=dict)
    """Number of frames with a value."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Number of frames without a value (no ray, or an empty cropped cloud)."""

    def add(self, values: Mapping[str, float | None]) -> None:
        """Add the values of one frame; None is skipped and counted."""
        for name, value in values.items():
            if value is None:
                self.skipped[name] = self.skipped.get(name, 0) + 1
            else:
                self.total[name] = self.total.get(name, 0.0) + value
                self.frames[name] = self.frames.get(name, 0) + 1

    def merge(self, other: "MetricMeans") -> None:
        """Add the sums and counts of another accumulator, such as another process's."""
        for name, total in other.total.items():
            self.total[name] = self.total.get(name, 0.0) + total
            self.frames[name] = self.frames.get(name, 0) + other.frames[name]
        for name, count in other.skipped.items():
            self.skipped[name] = self.skipped.get(name, 0) + count

    def means(self) -> dict[str, float]:
        """Mean of every metric that has at least one frame."""
        return {name: self.total[name] / count for name, count in self.frames.items()}
