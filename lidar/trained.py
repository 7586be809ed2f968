"""What follows training: the baseline chosen on training windows, the model folder, the curves."""

import copy
import dataclasses
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from foretell.config import RunOptions
from foretell.history import read_history
from foretell.run import RunDirectory
from foretell.track import track
from lidar.config import PretrainConfig, forecast_horizons_s
from lidar.data.evaluation_window import EvaluationWindow, evaluation_window
from lidar.evaluation.baselines import select_copy_last
from lidar.evaluation.batch_norm import recalibrate_batch_norm
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
        training_windows(config, data, config.eval.select_windows, options, "choosing copy_last"),
        config.eval,
        horizons_s=forecast_horizons_s(config),
        point_range=config.data.point_range,
        num_sweeps=config.data.num_sweeps,
        data_kind=config.data.kind,
        rays=config.rays,
    )
    norms: dict[str, Tensor] = {}
    if config.eval.recalibrate_bn:
        count = config.eval.recalibrate_windows
        windows = training_windows(config, data, count, options, "re-estimating norms")
        norms = unmasked_norms(model, windows)
    model.config = dataclasses.replace(model.config, copy_last=chosen)
    history = read_history(run_directory.history)
    card = model_card(config, options, history)
    save_trained(model, config, run_directory.model, card=card, unmasked_norms=norms)
    run_directory.write_metrics(last_losses(history))
    if history:
        training_curves(run_directory.figures / "training_curves.png", run_directory.history)
    _log.info("model written to %s", run_directory.model)


def training_windows(
    config: PretrainConfig,
    data: "PretrainDataModule",
    count: int,
    options: RunOptions,
    what: str,
) -> Iterator[EvaluationWindow]:
    """Unmasked training windows, evenly spaced, at most `count`."""
    assert data.train is not None
    windows = data.train.windows
    count = min(count, len(windows))
    chosen = [windows[i * len(windows) // count] for i in range(count)]
    for window in track(chosen, count, what, quiet=options.quiet):
        yield evaluation_window(window, config)


def unmasked_norms(model: Trend, windows: Iterator[EvaluationWindow]) -> dict[str, Tensor]:
    """Batch-norm buffers re-estimated on unmasked windows; the model itself stays as it is."""
    other = copy.deepcopy(model)
    recalibrate_batch_norm(other, windows)
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
    losses = [row["train/loss"] for row in history if "train/loss" in row]
    last = sum(losses[-10:]) / len(losses[-10:]) if losses else float("nan")
    return f"""# TREND model, pretrained with foretell

- Objective: ablation level `{config.ablation.level}`, decoder `{config.decoder.type}`
- Data: {config.data.kind}, splits {", ".join(config.data.splits)}; horizons {horizons};
  {config.data.num_sweeps} input sweep(s). No labels were used.
- Seed {options.seed}; mean of the last logged training losses {last:.4g}
- Source: TREND, arXiv 2412.03054. Data sets carry their own licences, many non-commercial:
  weights trained on them inherit those terms.

Load: `lidar.trend.Trend.from_pretrained(folder)`. Score: `foretell lidar forecast --model folder`.
Export the encoder: `foretell lidar export --model folder`.
"""
