"""`foretell lidar forecast`: score and draw what a model, or the baselines alone, forecast."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory
from lidar.config import ForecastConfig, trained_horizons_s
from lidar.data.dataset import Dataset
from lidar.data.evaluation_window import EvaluationWindow, evaluation_window
from lidar.data.features import feature_columns
from lidar.data.index import open_dataset
from lidar.data.windows import Window, windows_of
from lidar.evaluation.baselines import ConstantVelocityOracle, CopyLast
from lidar.evaluation.forecast import Predictor, score, scored_protocols
from lidar.evaluation.forecast_table import TableCaption, forecast_tables, mark_extrapolated
from lidar.evaluation.model_predictor import ModelForecaster, shuffled_actions
from lidar.evaluation.protocols import Protocol, horizon_label
from lidar.evaluation.ray_groups import annotated_boxes, annotated_classes
from lidar.geometry.range_view import AngularBins
from lidar.saved_model import load_trained, trained_config
from lidar.trend import Trend, needs_gap_time

_log = logging.getLogger(__name__)

TABLE_WIDTH = 140
"""Characters: names and numbers must not be cut where the output is a file or a pipe."""


@dataclass(frozen=True)
class Scoring:
    """Windows, and who forecasts them."""

    config: ForecastConfig
    dataset: Dataset
    windows: list[Window]
    horizons_s: list[float]
    predictors: dict[str, Predictor]
    copy_last: Mapping[str, str] | None
    """Metric -> chosen variant; none without a model."""
    trained_horizons_s: Sequence[float]
    """Empty without a model."""

    @property
    def protocols(self) -> list[Protocol]:
        """The config's own ranges and the published protocols."""
        data = self.config.data
        return scored_protocols(
            self.config.eval, self.horizons_s, data.point_range, data_kind=data.kind
        )

    def evaluation_windows(self) -> Iterator[EvaluationWindow]:
        """Load one window at a time."""
        for window in self.windows:
            yield evaluation_window(window, self.config)


def run(config: ForecastConfig, options: RunOptions) -> None:
    """Write metrics.json, the tables and the figures.

    Raises:
        UserError: Missing data or model, or no window to score.
    """
    from foretell.track import track
    from lidar.forecast_figures import draw_forecasts

    if config.threads:
        torch.set_num_threads(config.threads)
    scoring = prepare(config)
    run_directory = RunDirectory.create("lidar-forecast", config, options)
    metrics = score(
        track(scoring.evaluation_windows(), len(scoring.windows), "scoring", quiet=options.quiet),
        scoring.predictors,
        config.eval,
        horizons_s=scoring.horizons_s,
        point_range=config.data.point_range,
        data_kind=config.data.kind,
        boxes_of=annotated_boxes,
        classes_of=annotated_classes,
        copy_last=scoring.copy_last,
    )
    if scoring.trained_horizons_s:
        metrics = mark_extrapolated(
            metrics,
            who=[who for who in scoring.predictors if not who.startswith("copy_last")],
            protocols=scoring.protocols,
            trained_horizons_s=scoring.trained_horizons_s,
        )
    run_directory.write_metrics(metrics)
    show(scoring, metrics)
    draw_forecasts(scoring, metrics, run_directory.figures)


def prepare(config: ForecastConfig) -> Scoring:
    """Open the data, find the windows, load the model."""
    dataset = open_dataset(config.data)
    model = None
    trained_s: list[float] = []
    horizons_s = config.eval.horizons_s or config.data.horizons_s
    if config.model:
        model = load_trained(Path(config.model), unmasked_norms=config.eval.recalibrate_bn)
        model = model.to(device_of(config))
        trained_s = trained_horizons_s(trained_config(config.model))
        horizons_s = config.eval.horizons_s or model.config.horizons_s
        check_input(model, config, dataset)
        check_steps(model, horizons_s)
        if model.config.ablation.level == "scratch":
            _log.warning("%s was never trained (ablation.level scratch): noise", config.model)
    if not horizons_s:
        raise UserError("no horizon to score: give --eval.horizons_s, such as '[0.5, 1.0]'")
    logs = dataset.select(config.data.eval_splits)
    windows = windows_of(logs, config.data, horizons_s, left_out=dataset.left_out)
    windows = evenly_spaced(windows, config.eval.max_windows)
    baselines = CopyLast(config.eval, num_sweeps=config.data.num_sweeps, rays=config.rays)
    predictors = baselines.predictors()
    if any(window.log.labelled.any() for window in windows):
        predictors["const_velocity_oracle"] = ConstantVelocityOracle(
            config.eval, annotated_boxes, AngularBins(0.35, 0.35), config.rays
        )
    if model is not None:
        actions = shuffled_actions(model, windows)
        forecaster = ModelForecaster(model, config.eval, shuffled_action=actions)
        predictors = forecaster.predictors() | predictors
        warn_of_overlap(config, dataset)
    return Scoring(
        config=config,
        dataset=dataset,
        windows=windows,
        horizons_s=horizons_s,
        predictors=predictors,
        copy_last=model.config.copy_last if model is not None else None,
        trained_horizons_s=trained_s,
    )


def device_of(config: ForecastConfig) -> torch.device:
    """The device that a configuration names.

    Raises:
        UserError: A GPU is asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no GPU; give --device cpu")
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def check_input(model: Trend, config: ForecastConfig, dataset: Dataset) -> None:
    """Refuse data settings with which the model's input would mean something else."""
    for key, own, given in (
        ("point_range", model.config.point_range, config.data.point_range),
        ("voxel_size", model.config.voxel_size, config.data.voxel_size),
    ):
        if own != given:
            raise UserError(f"data.{key} is {given}, the model was trained with {own}")
    columns = feature_columns(config.data, dataset.sensor)
    if columns != model.config.features:
        raise UserError(
            f"the input columns of {config.data.root} with data.num_sweeps "
            f"{config.data.num_sweeps} are {columns}, the model was trained with "
            f"{model.config.features}"
        )


def check_steps(model: Trend, horizons_s: Sequence[float]) -> None:
    """Refuse horizons that make the recurrence take other steps than it was trained to take.

    The latent goes from one scored horizon to the next, so none of the trained ones may be left
    out; further ones follow at the last gap. A model that is told the gap may take any.
    """
    if not model.config.ablation.recurrent or needs_gap_time(model.config):
        return
    steps = list(model.config.horizons_s)
    gap_s = steps[-1] - ([0.0, *steps])[-2]
    while steps[-1] < horizons_s[-1] - 1e-6:
        steps.append(round(steps[-1] + gap_s, 6))
    reached = [step for step in steps if step < horizons_s[-1] + 1e-6] or steps[:1]
    if [round(horizon, 6) for horizon in horizons_s] != [round(step, 6) for step in reached]:
        raise UserError(
            f"eval.horizons_s {list(horizons_s)} are not the steps of the model's recurrence: "
            f"give {reached}"
        )


def evenly_spaced(windows: list[Window], count: int) -> list[Window]:
    """At most `count` windows, spread over all; 0 = all."""
    if not 0 < count < len(windows):
        return windows
    return [windows[i * len(windows) // count] for i in range(count)]


def warn_of_overlap(config: ForecastConfig, dataset: Dataset) -> None:
    """Say so when windows that are scored were trained on."""
    trained = trained_config(config.model)
    if Path(trained.data.root).resolve() != Path(config.data.root).resolve():
        return
    seen = {
        (log.name, log.sweep_offset + i)
        for log in dataset.select(trained.data.splits)
        for i in range(len(log))
    }
    scored = {
        (log.name, log.sweep_offset + i)
        for log in dataset.select(config.data.eval_splits)
        for i in range(len(log))
    }
    if seen & scored:
        _log.warning(
            "%d of %d scored sweeps were trained on: these numbers show fit, not forecasting",
            len(seen & scored),
            len(scored),
        )


def show(scoring: Scoring, metrics: Mapping[str, float]) -> None:
    """Print one table per protocol and ray group."""
    from rich.console import Console

    config = scoring.config
    caption = TableCaption(
        num_sweeps=config.data.num_sweeps,
        protocol_titles={protocol.name: protocol.title for protocol in scoring.protocols},
    )
    console = Console(width=TABLE_WIDTH)
    labels = ", ".join(horizon_label(horizon) for horizon in scoring.horizons_s)
    _log.info("%d windows at %s", len(scoring.windows), labels)
    with console.capture() as capture:
        for table in forecast_tables(metrics, caption):
            console.print(table)
    _log.info("%s", capture.get())
