"""Scores forecasts of future sweeps: windows and predictors in, flat metrics out.

Ray protocol: origins and directions of the future sweep are given (the future ego pose is known); a
predictor returns one range per ray. Keys: `forecast[/<protocol>]/<who>/<rays>/<horizon>/<metric>`,
with `frames` beside every slice and `<metric>_skipped` where frames had no value.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface
from typing import runtime_checkable

from numpy import ndarray

from lidar.config import EvalConfig
from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.structures import Boxes
from lidar.evaluation.forecast_metrics import MetricMeans, check_finite
from lidar.evaluation.frame_metrics import ForecastRanges, FrameTruth
from lidar.evaluation.protocols import Protocol, config_protocol, published_protocol
from lidar.evaluation.ray_groups import annotated_boxes

__all__ = ["ForecastRanges", "ForecastScores", "Predictor", "score"]

BoxesOf = Callable[[EvaluationWindow, int], Boxes | None]
"""Boxes of a window's frame in that sweep's sensor frame; none where not annotated."""
ClassesOf = Callable[[EvaluationWindow, int], ndarray | None]
"""Class of each scored return of a window's frame; none where not annotated."""


@runtime_checkable
class Predictor(Interface):
    """Forecasts the ranges of given rays."""

    def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
        """Ranges of `window.direction[frame]` from `window.origin[frame]`."""
        ...


@dataclass
class ForecastScores:
    """Accumulated metrics of every protocol, predictor, ray group and horizon; mergeable."""

    means: dict[tuple[str, str, str, str], MetricMeans] = field(default_factory=dict)
    """(protocol, who, rays, horizon) -> sums and counts over frames."""

    def add(self, key: tuple[str, str, str, str], values: Mapping[str, float | None]) -> None:
        """Add the metrics of one frame."""
        self.means.setdefault(key, MetricMeans()).add(values)

    def merge(self, other: "ForecastScores") -> None:
        """Add another accumulator, such as another process's."""
        for key, means in other.means.items():
            self.means.setdefault(key, MetricMeans()).merge(means)

    def metrics(self) -> dict[str, float]:
        """Flat metrics of every slice that has frames."""
        flat: dict[str, float] = {}
        for (protocol, who, rays, horizon), means in self.means.items():
            prefix = "/".join(part for part in ("forecast", protocol, who, rays, horizon) if part)
            flat |= {f"{prefix}/{name}": value for name, value in means.means().items()}
            flat[f"{prefix}/frames"] = max(means.frames.values(), default=0)
            flat |= {f"{prefix}/{name}_skipped": count for name, count in means.skipped.items()}
        return flat


def score(
    windows: Iterable[EvaluationWindow],
    predictors: Mapping[str, Predictor],
    config: EvalConfig,
    *,
    horizons_s: Sequence[float],
    point_range: Sequence[float],
    data_kind: str = "nuscenes",
    boxes_of: BoxesOf | None = annotated_boxes,
    classes_of: ClassesOf | None = None,
    copy_last: Mapping[str, str] | None = None,
    groups: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score predictors on the same rays of the same windows.

    Args:
        windows: Evaluation windows, read one at a time; their rays obey the limits of `eval`.
        predictors: Name (`model`, `copy_last_nearest_t0`, `zero_action`, ...) -> predictor.
        config: `eval` of the configuration.
        horizons_s: Nominal seconds after t0 of the frames 1.. of every window.
        point_range: Model volume: the crop of NFCD in the config's own protocol.
        data_kind: `data.kind`, for the preparation of the published protocols.
        boxes_of: Boxes of a frame; none = labels stay unread, no moving and static rays.
        classes_of: Classes of the returns; none = they stay unread, no foreground rays.
        copy_last: Metric -> variant chosen on training windows; adds the row `copy_last`.
        groups: Ray groups scored; none = all that exist.

    Returns:
        Flat metrics, see the top of the module.

    Raises:
        ValueError: A prediction is not finite or not one range per ray.
    """
    protocols = scored_protocols(config, horizons_s, point_range, data_kind=data_kind)
    scores = ForecastScores()
    for window in windows:
        if len(window.range_m) < len(horizons_s) + 1:
            raise ValueError(
                f"window {window.name} has {len(window.range_m) - 1} future frames, "
                f"{len(horizons_s)} horizons are scored: {list(horizons_s)}"
            )
        for frame, horizon_s in enumerate(horizons_s, start=1):
            boxes = None if boxes_of is None else boxes_of(window, frame)
            classes = None if classes_of is None else classes_of(window, frame)
            truth = FrameTruth.of(window, frame, boxes, groups, classes)
            for who, predictor in predictors.items():
                forecast = checked_forecast(predictor, window, frame, who)
                for protocol, rays, values in truth.compare(forecast, protocols, horizon_s):
                    for horizon in protocol.slices_of(horizon_s):
                        scores.add((protocol.name, who, rays, horizon), values)
    metrics = scores.metrics()
    return metrics if copy_last is None else metrics | chosen_copy_last(metrics, copy_last)


def scored_protocols(
    config: EvalConfig,
    horizons_s: Sequence[float],
    point_range: Sequence[float],
    *,
    data_kind: str = "nuscenes",
) -> list[Protocol]:
    """The config's own ranges first, then the published protocols it names."""
    own = config_protocol(horizons_s, point_range, chamfer=config.chamfer)
    published = [
        published_protocol(name, horizons_s, data_kind=data_kind) for name in config.protocols
    ]
    return [own, *published]


def checked_forecast(
    predictor: Predictor, window: EvaluationWindow, frame: int, who: str
) -> ForecastRanges:
    """Predict, and raise ValueError unless there is one finite range per ray."""
    forecast = predictor.predict(window, frame)
    place = f"{who}, window {window.name}, frame {frame}"
    if forecast.range_m.shape != window.range_m[frame].shape:
        raise ValueError(
            f"{place}: got {forecast.range_m.shape} ranges for {window.range_m[frame].shape} rays"
        )
    check_finite(forecast.range_m, place)
    return forecast


def is_error(name: str) -> bool:
    """Whether a metric is an error (lower is better) and not a count or a share."""
    return name.endswith(("_m", "_pct", "_m2"))


def chosen_copy_last(metrics: Mapping[str, float], chosen: Mapping[str, str]) -> dict[str, float]:
    """The row `copy_last`: for every metric the variant chosen for it on training windows.

    A metric of a published protocol that was not scored then, such as `l1_4docc_m`, follows the
    metric of the same name without `4docc`, any other one follows `l1_m`.
    """
    row: dict[str, float] = {}
    for key, value in metrics.items():
        *prefix, who, rays, horizon, name = key.split("/")
        # Counts of frames are the same for every variant: the rays are.
        error = name.removesuffix("_skipped")
        candidates = (error, error.replace("_4docc", ""), "l1_m")
        if who == next((chosen[metric] for metric in candidates if metric in chosen), None):
            row["/".join([*prefix, "copy_last", rays, horizon, name])] = value
    return row
