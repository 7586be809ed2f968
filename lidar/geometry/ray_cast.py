"""Cast rays at a point cloud: the nearest known range in a ray's angular bin or direction."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from lidar.geometry.range_view import AngularBins, spherical, z_buffer


def cast_rays(
    known_points: Float[ndarray, "points 3"],
    origin: Float[ndarray, "3"],
    direction: Float[ndarray, "rays 3"],
    bins: Sequence[AngularBins | None],
    *,
    axes: Float[ndarray, "3 3"] | None = None,
) -> list[Float[ndarray, " rays"]]:
    """Range of every ray at a static cloud, once per bin size.

    Args:
        known_points: Static world, any frame, metres.
        origin: Ray origin o_tn in that frame.
        direction: Unit directions in that frame.
        bins: Sizes of the z-buffer; none = nearest direction alone.
        axes: Rotation from that frame to the axes in which angles are measured (those of the
            sensor at t_n keep rings level); none = the same axes.

    Returns:
        Ranges in metres, all finite, one array per entry of `bins`.

    Raises:
        ValueError: The cloud is empty.
    """
    seen = known_points.astype(np.float64) - origin
    rays = direction.astype(np.float64)
    if axes is not None:
        seen, rays = seen @ axes.T, rays @ axes.T
    azimuth, elevation, range_m = spherical(seen)
    visible = range_m > 0
    if not visible.any():
        raise ValueError("ray casting needs at least one known point: the input sweep is empty")
    seen, azimuth, elevation, range_m = (
        array[visible] for array in (seen, azimuth, elevation, range_m)
    )
    ray_azimuth, ray_elevation, _ = spherical(rays)

    buffered = []
    for size in bins:
        if size is None:
            buffered.append(np.full(len(rays), np.inf))
            continue
        buffer = z_buffer(size.index(azimuth, elevation), range_m, size.shape[0] * size.shape[1])
        buffered.append(buffer[size.index(ray_azimuth, ray_elevation)])
    empty = np.any([np.isinf(ranges) for ranges in buffered], axis=0) if buffered else None
    if empty is not None and empty.any():
        nearest = _nearest_direction(seen / range_m[:, None], rays[empty])
        nearest_m = np.full(len(rays), np.inf)
        nearest_m[empty] = range_m[nearest]
        buffered = [np.where(np.isinf(ranges), nearest_m, ranges) for ranges in buffered]
    return buffered


def _nearest_direction(
    seen: Float[ndarray, "points 3"], rays: Float[ndarray, "rays 3"]
) -> Int[ndarray, " rays"]:
    # Chord length grows with the angle, so the nearest unit vector is the nearest direction.
    # Sliding-midpoint splits: 3x faster to build than medians and as fast to query here.
    tree = cKDTree(seen, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(rays)[1])
