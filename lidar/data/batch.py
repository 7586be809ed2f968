"""A batch of forecasting windows as tensors."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lidar.data.structures import TrainingWindow


@dataclass(frozen=True)
class WindowBatch:
    """B windows, S supervised frames, R rays each, l horizons; t0 frame, metres, seconds."""

    points: Float[Tensor, "points features"]
    """Encoder inputs of all windows, one after the other."""
    point_batch: Int[Tensor, " points"]
    """Window of each point."""
    t_s: Float[Tensor, "batch frames"]
    """Seconds since t0."""
    t0_SE3_tn: Float[Tensor, "batch frames 4 4"]
    """Sensor poses, float64."""
    action: Float[Tensor, "batch horizons 3"]
    """dx, dy, dtheta from t_n to t_n+1, as the recurrence is told."""
    frame_index: Int[Tensor, "batch supervised"]
    """Frames with rays; 0 = t0."""
    ray_o: Float[Tensor, "batch supervised rays 3"]
    ray_d: Float[Tensor, "batch supervised rays 3"]
    ray_r: Float[Tensor, "batch supervised rays"]
    ray_i: Float[Tensor, "batch supervised rays"]
    ray_valid: Bool[Tensor, "batch supervised rays"]
    seed: Int[Tensor, " batch"]
    """Key of the random draws of each window."""
    kept: dict[str, float]
    """Mean share that each filter kept."""
    names: tuple[str, ...]
    """<log>/<sweep> of each window."""
    copy_last_l1_m: float = float("nan")
    """Mean of what copying the t0 sweep scores on the rays of the last supervised frame."""

    @property
    def batch_size(self) -> int:
        """Number of windows."""
        return len(self.seed)

    def to(self, device: torch.device | str) -> "WindowBatch":
        """Move every tensor."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


def collate_windows(windows: list[TrainingWindow]) -> WindowBatch:
    """Stack windows of equal numbers of frames, supervised frames and rays."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(window, name) for window in windows]))

    kept_keys = {key for window in windows for key in window.kept}
    return WindowBatch(
        points=torch.from_numpy(np.concatenate([window.points for window in windows])),
        point_batch=torch.from_numpy(
            np.repeat(np.arange(len(windows)), [len(window.points) for window in windows])
        ),
        **{
            name: stack(name)
            for name in (
                "t_s",
                "t0_SE3_tn",
                "action",
                "frame_index",
                "ray_o",
                "ray_d",
                "ray_r",
                "ray_i",
                "ray_valid",
            )
        },  # fmt: skip
        seed=torch.tensor([window.seed for window in windows]),
        kept={
            key: float(np.mean([window.kept[key] for window in windows if key in window.kept]))
            for key in sorted(kept_keys)
        },
        copy_last_l1_m=_mean([window.copy_last_l1_m for window in windows]),
        names=tuple(window.name for window in windows),
    )


def _mean(values: list[float]) -> float:
    """Mean of the values that are there, NaN without any."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
