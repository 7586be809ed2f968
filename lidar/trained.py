"""What follows training: the baseline chosen on training windows, the model folder, the curves."""

import copy
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from numpy import ndarray
from torch import Tensor

from foretell.config import RunOptions
from foretell.history import read_history
from foretell.run import RunDirectory
from foretell.track import track
from lidar.config import PretrainConfig, forecast_horizons_s
from lidar.data.evaluation_window import EvaluationWindow, evaluation_window
from lidar.data.windows import Window
from lidar.evaluation.baselines import select_copy_last
from lidar.evaluation.batch_norm import recalibrate_batch_norm
from lidar.evaluation.model_predictor import shuffled_actions
from lidar.figures import training_curves
from lidar.saved_model import save_trained
from lidar.trend import Trend

if TYPE_CHECKING:
    from lidar.data.datamodule import PretrainDataModule

_log = logging.getLogger(__name__)


def finish(
    config: PretrainConfig,
    options: RunOptions,
    run_directory: RunDirectory,
    model: Trend,
    data: "PretrainDataModule",
) -> None:
    """Choose copy-last, re-estimate norms, write the model, the metrics and the curves."""
    chosen = select_copy_last(
        loaded(
            training_windows(data, config.eval.select_windows),
            config,
            options,
            "choosing copy_last",
        ),
        config.eval,
        horizons_s=forecast_horizons_s(config),
        point_range=config.data.point_range,
        num_sweeps=config.data.num_sweeps,
        data_kind=config.data.kind,
        rays=config.rays,
    )
    norms: dict[str, Tensor] = {}
    if config.eval.recalibrate_bn:
        windows = training_windows(data, config.eval.recalibrate_windows)
        actions = shuffled_actions(model, windows) if config.rec.action == "shuffled" else None
        unmasked = loaded(windows, config, options, "re-estimating norms")
        norms = unmasked_norms(model, unmasked, actions=actions)
    model.config = dataclasses.replace(model.config, copy_last=chosen)
    history = read_history(run_directory.history)
    card = model_card(config, options, history)
    save_trained(model, config, run_directory.model, card=card, unmasked_norms=norms)
    metrics = last_losses(history)
    run_directory.write_metrics(metrics)
    if history:
        training_curves(run_directory.figures / "training_curves.png", run_directory.history)
    _log.info("model written to %s", run_directory.model)
    if not metrics:
        why = "none was computed" if config.data.val_splits else "data.val_splits is empty"
        _log.info("%s is empty: it keeps validation losses, and %s", run_directory.metrics, why)


def training_windows(data: "PretrainDataModule", count: int) -> list[Window]:
    """Training windows, evenly spaced, at most `count`."""
    assert data.train is not None
    windows = data.train.windows
    count = min(count, len(windows))
    return [windows[i * len(windows) // count] for i in range(count)]


def loaded(
    windows: Sequence[Window], config: PretrainConfig, options: RunOptions, what: str
) -> Iterator[EvaluationWindow]:
    """Unmasked windows, one at a time."""
    for window in track(windows, len(windows), what, quiet=options.quiet):
        yield evaluation_window(window, config)


def unmasked_norms(
    model: Trend,
    windows: Iterator[EvaluationWindow],
    *,
    actions: Mapping[str, ndarray] | None = None,
) -> dict[str, Tensor]:
    """Batch-norm buffers re-estimated on unmasked windows; the model itself stays as it is."""
    other = copy.deepcopy(model)
    recalibrate_batch_norm(other, windows, actions=actions)
    own = model.state_dict()
    return {
        name: tensor for name, tensor in other.state_dict().items() if not tensor.equal(own[name])
    }


def last_losses(history: list[dict[str, float]]) -> dict[str, float]:
    """Validation losses of the last epoch that has them, as metrics of `val/model`."""
    watched = [row for row in history if any(name.startswith("val/") for name in row)]
    if not watched:
        return {}
    return {
        f"val/model/{name.removeprefix('val/')}": value
        for name, value in watched[-1].items()
        if name.startswith("val/")
    }


def model_card(config: PretrainConfig, options: RunOptions, history: list[dict[str, float]]) -> str:
    """README.md of the model folder."""
    horizons = ", ".join(f"{horizon:g} s" for horizon in forecast_horizons_s(config))
    losses = [row["train/loss"] for row in history if "train/loss" in row][-10:]
    outcome = "not trained: weights as initialised"
    if losses:
        outcome = f"mean of the last logged training losses {sum(losses) / len(losses):.4g}"
    scratch = config.ablation.level == "scratch"
    return f"""# TREND model, {"initialised" if scratch else "pretrained"} with foretell

- Objective: ablation level `{config.ablation.level}`, decoder `{config.decoder.type}`
- Data: {config.data.kind}, splits {", ".join(config.data.splits)}; horizons {horizons};
  {config.data.num_sweeps} input sweep(s). No labels were used.
- Seed {options.seed}; {outcome}
- Source: TREND, arXiv 2412.03054. Data sets carry their own licences, many non-commercial:
  weights trained on them inherit those terms.

Load: `lidar.trend.Trend.from_pretrained(folder)`. Score: `foretell lidar forecast --model folder`.
Export the encoder: `foretell lidar export --model folder`.
"""
