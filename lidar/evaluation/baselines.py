"""Baselines as predictors: copy-last variants, the chosen one, the constant-velocity oracle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.config import EvalConfig, RaysConfig
from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.ray_selection import outside_ego_box
from lidar.evaluation.copy_last import (
    Variant,
    constant_velocity_points,
    copy_last_variants,
)
from lidar.evaluation.forecast import BoxesOf, ForecastRanges, Predictor, is_error, score
from lidar.evaluation.protocols import MEAN
from lidar.geometry.range_view import AngularBins
from lidar.geometry.ray_cast import cast_rays


class CopyLast:
    """All copy-last variants; one ray cast per frame and source serves them all.

    Args:
        config: `eval` of the configuration: bins and limits.
        num_sweeps: Input sweeps of the model.
        rays: `rays` of the configuration, for its box of own-car returns; none = the data set's.
    """

    def __init__(
        self, config: EvalConfig, *, num_sweeps: int, rays: RaysConfig | None = None
    ) -> None:
        self.variants = copy_last_variants(config.raycast_bins_deg, num_sweeps=num_sweeps)
        self._config, self._rays = config, rays or RaysConfig()
        self._cast: tuple[EvaluationWindow, int, dict[str, ndarray]] | None = None

    def predictors(self) -> dict[str, Predictor]:
        """Name -> predictor of every variant."""
        return {variant.name: _CopyLastVariant(self, variant) for variant in self.variants}

    def ranges(self, window: EvaluationWindow, frame: int) -> dict[str, ndarray]:
        """Ranges of every variant for the rays of a frame."""
        if self._cast is not None and self._cast[0] is window and self._cast[1] == frame:
            return self._cast[2]
        ranges: dict[str, ndarray] = {}
        for source in ("t0", "sweeps"):
            variants = [variant for variant in self.variants if variant.source == source]
            if not variants:
                continue
            points = window.t0_points if source == "t0" else window.history_points
            known = known_points(window, frame, points, self._config, self._rays)
            cast = _cast(window, frame, known, variants)
            ranges |= {
                variant.name: range_m for variant, range_m in zip(variants, cast, strict=True)
            }
        self._cast = (window, frame, ranges)
        return ranges


@dataclass(frozen=True)
class _CopyLastVariant:
    baseline: CopyLast
    variant: Variant

    def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
        return ForecastRanges(self.baseline.ranges(window, frame)[self.variant.name])


@dataclass(frozen=True)
class ConstantVelocityOracle:
    """t0 boxes with their points moved by their annotated velocity, then ray-cast.

    It reads labels of t0: an upper reference for constant-velocity motion, no competitor. Windows
    without boxes at t0 get the plain copy-last of the same bins.
    """

    config: EvalConfig
    boxes_of: BoxesOf
    bins: AngularBins | None
    """Bins of the z-buffer; none = nearest direction."""
    rays: RaysConfig = field(default_factory=RaysConfig)

    def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
        """Ranges of the rays at t_n against the moved t0 sweep."""
        points = np.asarray(window.t0_points, np.float64)
        boxes = self.boxes_of(window, 0)
        if boxes is not None and len(boxes):
            points = constant_velocity_points(
                points, boxes.boxes, boxes.velocity_mps, float(window.t_s[frame])
            )
        known = known_points(
            window, frame, points, self.config, self.rays, seen_at=window.t0_points
        )
        return ForecastRanges(_cast(window, frame, known, [Variant(self.bins, "t0")])[0])


def _cast(
    window: EvaluationWindow, frame: int, points: ndarray, variants: Sequence[Variant]
) -> list[ndarray]:
    # Angles about the axes of the sensor at t_n: rings stay level in the bins.
    return cast_rays(
        points,
        window.origin[frame],
        window.direction[frame],
        [variant.bins for variant in variants],
        axes=window.t0_SE3_tn[frame][:3, :3].T,
    )


def known_points(
    window: EvaluationWindow,
    frame: int,
    points: Float[ndarray, "points 3"],
    config: EvalConfig,
    rays: RaysConfig,
    *,
    seen_at: Float[ndarray, "points 3"] | None = None,
) -> Float[ndarray, "kept 3"]:
    """Points that rays of a frame may find, by the limits of the scored rays; float64.

    Own-car returns are left out about the t0 sensor: they would otherwise stand on the road once
    the sensor has moved on. The limits in range act about the sensor of the frame, as they do on
    its rays; about the t0 sensor they would hide what the ego approaches. Where no point is left,
    all that are no own-car returns stay.

    Args:
        window: The scored window.
        frame: n of t_n.
        points: World at t_n, t0 sensor frame.
        config: Limits in range.
        rays: Box of own-car returns.
        seen_at: Where the t0 sensor saw the points, if they have moved since.
    """
    seen = points if seen_at is None else seen_at
    foreign = np.linalg.norm(seen, axis=1) >= config.min_range_m
    foreign &= outside_ego_box(seen, window.window.log.sensor, rays)
    range_m = np.linalg.norm(points - window.origin[frame], axis=1)
    kept = foreign & (range_m >= config.min_range_m)
    kept &= range_m <= (config.max_range_m or np.inf)
    return np.asarray(points[kept if kept.any() else foreign], np.float64)


def select_copy_last(
    training_windows: Iterable[EvaluationWindow],
    config: EvalConfig,
    *,
    horizons_s: Sequence[float],
    point_range: Sequence[float],
    num_sweeps: int,
    data_kind: str = "nuscenes",
    rays: RaysConfig | None = None,
) -> dict[str, str]:
    """Choose the best copy-last variant for every metric on training windows.

    The winner depends on the metric: fine bins win medians, coarse ones relative errors. The choice
    rests on all rays, horizons pooled, in the config's own ranges (a metric that only a published
    protocol has: averaged over its slices) and is applied unchanged to every protocol, ray group
    and horizon of the evaluation windows.

    Returns:
        Metric name -> name of the variant with the lowest value.

    Raises:
        ValueError: There are no windows.
    """
    metrics = score(
        training_windows,
        CopyLast(config, num_sweeps=num_sweeps, rays=rays).predictors(),
        config,
        horizons_s=horizons_s,
        point_range=point_range,
        data_kind=data_kind,
        boxes_of=None,
        groups=("all",),
    )
    values: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for key, value in metrics.items():
        *protocol, who, _, horizon, name = key.split("/")[1:]
        own_mean = not protocol and horizon == MEAN
        values.setdefault((name, own_mean), {}).setdefault(who, []).append(value)
    if not values:
        raise ValueError(
            "copy-last is chosen on training windows, but there are none: check data.splits"
        )
    return {
        name: min(by_variant, key=lambda who: float(np.mean(by_variant[who])))
        for (name, own_mean), by_variant in values.items()
        if is_error(name) and (own_mean or (name, True) not in values)
    }
