"""All metrics of one frame: what was measured, compared with one forecast after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.structures import Boxes
from lidar.evaluation.forecast_metrics import CloudPair, in_box, l1_4docc, ray_metrics
from lidar.evaluation.protocols import Protocol
from lidar.evaluation.ray_groups import (
    measured_points_flu,
    measured_points_t0,
    points_on_rays,
    ray_groups,
)


@dataclass(frozen=True)
class ForecastRanges:
    """What a predictor answers for the rays of one frame."""

    range_m: Float[ndarray, " rays"]
    """Predicted range of every ray, metres."""
    inside_volume: Bool[ndarray, " rays"] | None = None
    """False where the ray misses the model volume and `range_m` is its exit range; none = the
    predictor has no volume."""


@dataclass(frozen=True)
class FrameTruth:
    """The measured side of one frame, prepared once for all predictors and protocols."""

    window: EvaluationWindow
    frame: int
    measured: Float[ndarray, "rays 3"]
    """Returns in the t0 sensor frame."""
    measured_flu: Float[ndarray, "rays 3"]
    """The same at their own sensor, forward-left-up."""
    groups: Mapping[str, Bool[ndarray, " rays"]]
    """Masks of the scored ray groups."""

    @classmethod
    def of(
        cls,
        window: EvaluationWindow,
        frame: int,
        boxes: Boxes | None,
        groups: Sequence[str] | None = None,
        classes: UInt8[ndarray, " rays"] | None = None,
    ) -> "FrameTruth":
        """Prepare a frame; `groups` limits the ray groups to those named."""
        masks = ray_groups(window, frame, boxes, classes)
        if groups is not None:
            masks = {name: masks[name] for name in groups if name in masks}
        return cls(
            window=window,
            frame=frame,
            measured=measured_points_t0(window, frame),
            measured_flu=measured_points_flu(window, frame),
            groups=masks,
        )

    def compare(
        self, forecast: ForecastRanges, protocols: Sequence[Protocol], horizon_s: float
    ) -> Iterator[tuple[Protocol, str, dict[str, float | None]]]:
        """Metrics of every protocol that scores this horizon and every ray group."""
        predicted = points_on_rays(self.window, self.frame, forecast.range_m)
        pair = CloudPair(predicted, self.measured)
        for protocol in protocols:
            if not protocol.slices_of(horizon_s):
                continue
            kept = protocol.keeps(self.measured_flu)
            for rays, mask in self.groups.items():
                values = self._ray_values(protocol, rays, forecast, predicted, mask & kept)
                values |= cloud_values(protocol, pair, mask & kept)
                if values:
                    yield protocol, rays, values

    def _ray_values(
        self,
        protocol: Protocol,
        rays: str,
        forecast: ForecastRanges,
        predicted: Float[ndarray, "rays 3"],
        use: Bool[ndarray, " rays"],
    ) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        if "rays" in protocol.metrics:
            values |= ray_metrics(forecast.range_m[use], self.window.range_m[self.frame][use])
            if forecast.inside_volume is not None:
                inside = forecast.inside_volume[use]
                values["missed_volume_share"] = float(1 - inside.mean()) if len(inside) else None
        if "rays_4docc" in protocol.metrics and rays == "all":
            origin = self.window.origin[self.frame]
            values |= l1_4docc(predicted[use], self.measured[use], origin)
        return values


def cloud_values(
    protocol: Protocol, pair: CloudPair, use: Bool[ndarray, " rays"]
) -> dict[str, float | None]:
    """CD and NFCD of the rays in use, each with the protocol's crop."""
    values: dict[str, float | None] = {}
    for name, metric, box in (
        ("cd", "cd_m2", protocol.cd_box),
        ("nfcd", "nfcd_m2", protocol.nfcd_box),
    ):
        if name in protocol.metrics:
            predicted_use, measured_use = use, use
            if box is not None:
                predicted_use = use & in_box(pair.predicted, box)
                measured_use = use & in_box(pair.measured, box)
            values[metric] = pair.chamfer_m2(predicted_use, measured_use)
    return values
