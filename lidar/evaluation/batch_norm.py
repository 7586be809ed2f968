"""Batch-norm statistics for unmasked input: training sees masked sweeps, evaluation whole ones."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from foretell.blocks.batch_norm import alone
from lidar.data.evaluation_window import EvaluationWindow
from lidar.evaluation.model_predictor import encode_window, roll_out_window
from lidar.trend import Trend


@torch.no_grad()
def recalibrate_batch_norm(
    model: Trend,
    windows: Iterable[EvaluationWindow],
    *,
    actions: Mapping[str, Float[ndarray, "horizons 3"]] | None = None,
) -> int:
    """Re-estimate the running statistics of every batch norm on unmasked training windows.

    Statistics start afresh and are the plain average over the windows' batches (cumulative, no
    momentum), one window a batch: deterministic and independent of the old statistics. A norm that
    no window reaches keeps what it had. Weights, momentum and the modes of the modules stay. Other
    processes are not waited for.

    Args:
        model: Changed in place.
        windows: Unmasked windows of the training split.
        actions: Window name -> what the recurrence is told; none = the window's own action.

    Returns:
        Number of windows used.

    Raises:
        ValueError: There are no windows.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    modes = {module: module.training for module in model.modules()}
    momentum = [norm.momentum for norm in norms]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch: cumulative average
        norm.train()
    num_windows = 0
    try:
        with alone(model):
            for window in windows:
                told = None if actions is None else actions[window.name]
                roll_out_window(model, encode_window(model, window), window, told)
                num_windows += 1
    finally:
        for norm, old_momentum, buffers in zip(norms, momentum, before, strict=True):
            norm.momentum = old_momentum
            if not norm.num_batches_tracked:
                for name, value in buffers.items():
                    norm.get_buffer(name).copy_(value)
        for module, training in modes.items():
            module.training = training
    if not num_windows:
        raise ValueError(
            "batch-norm recalibration needs training windows, but there are none: check "
            "data.splits or set eval.recalibrate_bn false"
        )
    return num_windows
