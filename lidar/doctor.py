"""One tiny step of the LiDAR head for `foretell doctor`."""

import numpy as np
import torch

from lidar.config import EncoderConfig, FieldConfig, RenderConfig, TrendConfig
from lidar.data.batch import WindowBatch, collate_windows
from lidar.data.structures import TrainingWindow
from lidar.trend import Trend

CONFIG = TrendConfig(
    point_range=[-8.0, -8.0, -2.0, 8.0, 8.0, 2.0],
    voxel_size=[0.5, 0.5, 0.1],
    features=["x", "y", "z", "intensity"],
    horizons_s=[0.5],
    encoder=EncoderConfig(channels=[4, 4, 8, 8], blocks_per_stage=1, out_channels=8),
    field=FieldConfig(f_geo=[16, 16], f_sdf=[16], time_dim=8, f_int=[16], f_dir=[4, 4]),
    render=RenderConfig(n_uniform=8, n_importance=4),
)


def tiny_step() -> str:
    """Forward and backward of a tiny TREND model on made-up points.

    Returns:
        What was done, for a person.

    Raises:
        ArithmeticError: The loss or a gradient is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Trend(CONFIG)
    loss = model.losses(made_up_batch()).total
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not all(bool(value.isfinite().all()) for value in (loss, *gradients)):
        raise ArithmeticError("the loss or a gradient of the tiny TREND model is not finite")
    return f"TREND forward and backward, loss {loss.item():.3f}"


def made_up_batch(*, windows: int = 2, rays: int = 32) -> WindowBatch:
    """Windows of a seeded random cloud with rays at t0 and at one future frame."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(windows):
        direction = rng.normal(size=(2, rays, 3)) * [1.0, 1.0, 0.1]
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        points = rng.normal(size=(200, 4)) * [3.0, 3.0, 0.5, 0.2]
        made.append(
            TrainingWindow(
                points=points.astype(np.float32),
                t_s=np.array([0.0, 0.5], np.float32),
                t0_SE3_tn=np.tile(np.eye(4), (2, 1, 1)),
                action=rng.normal(size=(1, 3)).astype(np.float32),
                frame_index=np.array([0, 1]),
                ray_o=np.zeros((2, rays, 3), np.float32),
                ray_d=direction.astype(np.float32),
                ray_r=rng.uniform(2, 6, (2, rays)).astype(np.float32),
                ray_i=rng.uniform(0, 1, (2, rays)).astype(np.float32),
                ray_valid=np.ones((2, rays), bool),
                seed=n,
                name=f"made_up/{n}",
            )
        )
    return collate_windows(made)
