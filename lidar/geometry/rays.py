"""Rays against the volume box."""

from collections.abc import Sequence
from typing import NamedTuple

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
        >>> exit_distance(o, d, [-2.0, -2.0, -2.0, 5.0, 2.0, 2.0])
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


class SearchInterval(NamedTuple):
    """Where along its ray a surface is searched, metres from the ray's origin."""

    near_m: Float[Tensor, "*rays"]
    """First distance."""
    far_m: Float[Tensor, "*rays"]
    """Last distance, >= the first."""
    hits_volume: Bool[Tensor, "*rays"]
    """Whether the ray meets the volume box beyond the nearest distance allowed."""


def search_interval(
    origin: Float[Tensor, "*rays 3"],
    direction: Float[Tensor, "*rays 3"],
    point_range: Sequence[float],
    *,
    near_m: float,
    far_m: float | None,
) -> SearchInterval:
    """First and last distance at which a decoder looks for the surface.

    From the entry into the volume box, at least `near_m`, to `far_m` or else the exit. A ray that
    misses the box has no exit: it ends at `far_m` or else where it is nearest to the centre c of
    the box, r = max((c - o) . d, `near_m`).

    Args:
        origin: Ray origins in metres, t0 frame.
        direction: Unit directions.
        point_range: The box, same frame.
        near_m: Nearest distance (`render.near`).
        far_m: Last distance (`render.far`); none = exit of the box.

    Example:
        >>> o, d = torch.tensor([[-9.0, 0, 0], [-9.0, 7, 0]]), torch.tensor([[1.0, 0, 0]] * 2)
        >>> search_interval(o, d, [-2.0, -2.0, -2.0, 4.0, 2.0, 2.0], near_m=1.0, far_m=None)[1:]
        (tensor([13., 10.]), tensor([ True, False]))
    """
    enter, leave, hits = exit_distance(origin, direction, point_range)
    near = enter.clamp(min=near_m)
    first = torch.full_like(near, near_m)
    if far_m is None:
        low, high = origin.new_tensor(list(point_range)).split(3)
        beside = (((low + high) / 2 - origin) * direction).sum(-1).clamp(min=near_m)
    else:
        leave = beside = torch.full_like(near, far_m)
    hits = hits & (leave > near)
    return SearchInterval(torch.where(hits, near, first), torch.where(hits, leave, beside), hits)
