"""Pictures of a scored forecast: sweeps from above, range images, errors, curves, a GIF."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lidar.evaluation.protocols import horizon_label
from lidar.figures import (
    ForecastFrame,
    bev_comparison,
    drive_gif,
    error_histogram,
    horizon_curves,
    range_images,
)

if TYPE_CHECKING:
    from lidar.data.evaluation_window import EvaluationWindow
    from lidar.forecast import Scoring

GIF_FRAMES = 24
"""Most windows in the GIF."""


def draw_forecasts(scoring: "Scoring", metrics: Mapping[str, float], folder: Path) -> list[Path]:
    """Draw `figures` windows, the errors over them, L1 against the horizon and a GIF.

    Returns:
        The files written; none when `figures` is 0.
    """
    config = scoring.config
    if not config.figures:
        return []
    who = shown_names(scoring)
    count = min(config.figures, len(scoring.windows))
    chosen = {i * len(scoring.windows) // count for i in range(count)}
    gif_step = -(-len(scoring.windows) // GIF_FRAMES)
    sensor_R = scoring.dataset.sensor.flu_R_lidar
    written: list[Path] = []
    drawn: list[ForecastFrame] = []
    film: list[ForecastFrame] = []
    times_s: list[float] = []
    for i, window in enumerate(scoring.evaluation_windows()):
        if i not in chosen and i % gif_step:
            continue
        frames = forecast_frames(scoring, window, who)
        name = window.name.replace("/", "_")
        if i in chosen:
            drawn += frames
            written.append(
                bev_comparison(folder / f"bev_{name}.png", frames, who=who, flu_R_lidar=sensor_R)
            )
            written.append(
                range_images(folder / f"range_{name}.png", frames, who=who[0], flu_R_lidar=sensor_R)
            )
        if i % gif_step == 0:
            film.append(frames[-1])
            log = window.window.log
            times_s.append(1e-9 * float(log.timestamps_ns[window.window.t0] - log.timestamps_ns[0]))
    written.append(error_histogram(folder / "error_histogram.png", drawn, who=who))
    curves = horizon_l1(metrics, who, scoring.horizons_s)
    written.append(
        horizon_curves(
            folder / "l1_by_horizon.png",
            np.array(scoring.horizons_s),
            curves,
            trained_to_s=max(scoring.trained_horizons_s, default=None),
        )
    )
    if len(film) > 1:
        written.append(
            drive_gif(folder / "drive.gif", film, np.array(times_s), who=who, flu_R_lidar=sensor_R)
        )
    return written


def shown_names(scoring: "Scoring") -> list[str]:
    """The model and the copy-last chosen for L1; without a model the first two variants."""
    if "model" not in scoring.predictors:
        return list(scoring.predictors)[:2]
    return ["model", "copy_last"]


def forecast_frames(
    scoring: "Scoring", window: "EvaluationWindow", who: list[str]
) -> list[ForecastFrame]:
    """Every horizon of a window with the forecasts shown."""
    return [
        ForecastFrame(
            horizon_s=horizon_s,
            t0_SE3_tn=window.t0_SE3_tn[n],
            origin=window.origin[n].astype(np.float64),
            direction=window.direction[n].astype(np.float64),
            true_m=window.range_m[n].astype(np.float64),
            predicted_m={
                name: scoring.predictors[predictor_name(scoring, name)].predict(window, n).range_m
                for name in who
            },
        )
        for n, horizon_s in enumerate(scoring.horizons_s, start=1)
    ]


def predictor_name(scoring: "Scoring", name: str) -> str:
    """The variant behind `copy_last`: the one chosen for L1."""
    if name == "copy_last" and scoring.copy_last is not None:
        return scoring.copy_last["l1_m"]
    return name


def horizon_l1(
    metrics: Mapping[str, float], who: list[str], horizons_s: list[float]
) -> dict[str, np.ndarray]:
    """All-ray L1 of each name, one row, a column per horizon."""
    return {
        name: np.array(
            [
                [
                    metrics.get(f"forecast/{name}/all/{horizon_label(h)}/l1_m", np.nan)
                    for h in horizons_s
                ]
            ]
        )
        for name in who
    }
