"""Rays against the volume box."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def exit_distance(
    origin: Float[Tensor, "*rays 3"],
    direction: Float[Tensor, "*rays 3"],
    point_range: Sequence[float],
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"], Bool[Tensor, "*rays"]]:
    """Distances at which rays enter and leave an axis-aligned box (slab test).

    Along each axis the ray is inside the slab for (low - o)/d <= r <= (high - o)/d; the box is the
    intersection over the axes and r >= 0.

    Args:
        origin: Ray origins in metres, any frame.
        direction: Unit directions.
        point_range: x_min, y_min, z_min, x_max, y_max, z_max of the box in the same frame.

    Returns:
        near, far in metres and whether the ray meets the box; near = far = 0 where it does not.

    Example:
        >>> o, d = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
        >>> exit_distance(o, d, [-2, -2, -2, 5, 2, 2])
        (tensor([0.]), tensor([5.]), tensor([True]))
    """
    low = origin.new_tensor(list(point_range[:3]))
    high = origin.new_tensor(list(point_range[3:]))
    parallel = direction == 0
    speed = torch.where(parallel, torch.ones_like(direction), direction)
    at_low, at_high = (low - origin) / speed, (high - origin) / speed
    infinite = torch.full_like(direction, torch.inf)
    enter = torch.where(parallel, -infinite, torch.minimum(at_low, at_high)).amax(-1).clamp(min=0)
    leave = torch.where(parallel, infinite, torch.maximum(at_low, at_high)).amin(-1)
    inside_slab = ((origin >= low) & (origin <= high)) | ~parallel
    hits = inside_slab.all(-1) & (leave > enter) & leave.isfinite()
    zero = torch.zeros_like(enter)
    return torch.where(hits, enter, zero), torch.where(hits, leave, zero), hits
