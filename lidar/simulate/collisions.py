"""Taking out actors that would touch another one, so that no two boxes ever overlap."""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

MIN_SAME_CLASS_M = 1.25
"""Smallest distance of the centres of two actors of one class."""


def overlapping(
    xy: Float64[ndarray, "times actors 2"],
    yaw: Float64[ndarray, "times actors"],
    size: Float64[ndarray, "actors 2"],
) -> Bool[ndarray, "actors actors"]:
    """Which pairs of rectangles (length, width) overlap at any time: separating axes."""
    actors = len(size)
    first, second = np.triu_indices(actors, 1)
    reach = np.hypot(size[:, 0], size[:, 1]) / 2
    delta = xy[:, second] - xy[:, first]
    time, pair = np.nonzero((delta**2).sum(-1) < (reach[first] + reach[second]) ** 2)
    a, b, gap = first[pair], second[pair], delta[time, pair]
    yaw_a, yaw_b = yaw[time, a], yaw[time, b]
    apart = np.zeros(len(pair), bool)
    for axis_yaw in (yaw_a, yaw_a + np.pi / 2, yaw_b, yaw_b + np.pi / 2):
        axis = np.stack([np.cos(axis_yaw), np.sin(axis_yaw)], axis=1)
        extent = _extent(size[a], axis_yaw - yaw_a) + _extent(size[b], axis_yaw - yaw_b)
        apart |= np.abs((gap * axis).sum(1)) > extent
    result = np.zeros((actors, actors), bool)
    result[a[~apart], b[~apart]] = True
    return np.asarray(result | result.T)


def keep_apart(
    xy: Float64[ndarray, "times actors 2"],
    yaw: Float64[ndarray, "times actors"],
    size: Float64[ndarray, "actors 2"],
    names: list[str],
    groups: list[int],
    *,
    margin_m: float = 0.1,
) -> list[int]:
    """Positions of the actors to keep, in order: earlier ones stay, later ones that touch leave.

    Actors of one class also stay `MIN_SAME_CLASS_M` apart. Members of a group (>= 0) may touch each
    other and leave together.
    """
    touches = overlapping(xy, yaw, size + 2 * margin_m)
    for name in sorted(set(names)):
        same = [i for i, other in enumerate(names) if other == name]
        delta = xy[:, same][:, :, None] - xy[:, same][:, None]
        near = ((delta**2).sum(-1).min(axis=0) < MIN_SAME_CLASS_M**2) & ~np.eye(
            len(same), dtype=bool
        )
        touches[np.ix_(same, same)] |= near
    group = np.asarray(groups)
    touches &= ~((group[:, None] == group[None]) & (group[:, None] >= 0))
    kept: list[int] = []
    banned: set[int] = set()
    for i in range(len(names)):
        if groups[i] in banned or touches[i, kept].any():
            if groups[i] >= 0:
                banned.add(groups[i])
                kept = [k for k in kept if groups[k] != groups[i]]
        else:
            kept.append(i)
    return kept


def _extent(size: ndarray, angle: ndarray) -> ndarray:
    return np.asarray(
        size[:, 0] / 2 * np.abs(np.cos(angle)) + size[:, 1] / 2 * np.abs(np.sin(angle))
    )
