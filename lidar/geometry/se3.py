"""Rigid transforms in float64: `dst_SE3_src` maps p_dst = dst_SE3_src p_src.

All functions are batched over leading axes. Quaternions are w, x, y, z.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray


def se3(
    rotation: Float[ndarray, "*batch 3 3"], translation: Float[ndarray, "*batch 3"]
) -> Float64[ndarray, "*batch 4 4"]:
    """Assemble homogeneous matrices from rotations and translations (metres)."""
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform


def invert(dst_SE3_src: Float[ndarray, "*batch 4 4"]) -> Float64[ndarray, "*batch 4 4"]:
    """Return src_SE3_dst = [R^T, -R^T t]."""
    rotation_t = np.swapaxes(np.asarray(dst_SE3_src, np.float64)[..., :3, :3], -1, -2)
    return se3(rotation_t, -np.einsum("...ij,...j->...i", rotation_t, dst_SE3_src[..., :3, 3]))


def is_rigid(transform: Float[ndarray, "*batch 4 4"]) -> Bool[ndarray, "*batch"]:
    """Whether a matrix is finite and its rotation right-handed and orthonormal to 0.01."""
    finite = np.isfinite(transform).all(axis=(-2, -1))
    rotation = np.where(finite[..., None, None], transform[..., :3, :3], 0.0)
    error = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max(axis=(-2, -1))
    return np.asarray(finite & (error < 0.01) & (np.linalg.det(rotation) > 0))


def transform_points(
    dst_SE3_src: Float[ndarray, "4 4"], points: Float[ndarray, "points columns"]
) -> Float64[ndarray, "points 3"]:
    """Move the first three columns of `points` into the destination frame.

    >>> transform_points(se3(np.eye(3), np.array([1.0, 0.0, 0.0])), np.zeros((1, 4)))
    array([[1., 0., 0.]])
    """
    transform = np.asarray(dst_SE3_src, np.float64)
    xyz = points[:, :3].astype(np.float64)
    moved: Float64[ndarray, "points 3"] = xyz @ transform[:3, :3].T + transform[:3, 3]
    return moved


def matrix_from_quaternion_wxyz(
    quaternion: Float[ndarray, "*batch 4"],
) -> Float64[ndarray, "*batch 3 3"]:
    """Rotation matrices of quaternions w, x, y, z, which need not be normalised.

    Raises:
        ValueError: A quaternion is zero or not finite.
    """
    norm = np.linalg.norm(np.asarray(quaternion, np.float64), axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm) & (norm > 0)):
        raise ValueError("a quaternion is zero or not finite, so it is no rotation")
    w, x, y, z = np.moveaxis(quaternion / norm, -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def quaternion_wxyz_from_matrix(
    rotation: Float[ndarray, "*batch 3 3"],
) -> Float64[ndarray, "*batch 4"]:
    """Unit quaternions w, x, y, z with w >= 0.

    Each row of 4 q q^T is q scaled; the row with the largest diagonal is the well-conditioned one.
    """
    r = np.asarray(rotation, np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = (
        r[..., 2, 1] - r[..., 1, 2],
        r[..., 0, 2] - r[..., 2, 0],
        r[..., 1, 0] - r[..., 0, 1],
    )
    xy, xz, yz = (
        r[..., 1, 0] + r[..., 0, 1],
        r[..., 0, 2] + r[..., 2, 0],
        r[..., 2, 1] + r[..., 1, 2],
    )
    outer = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], -1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    row = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    row = row / np.linalg.norm(row, axis=-1, keepdims=True)
    return np.where(row[..., :1] < 0, -row, row)


def yaw_matrix(yaw_rad: Float[ndarray, "*batch"] | float) -> Float64[ndarray, "*batch 3 3"]:
    """Rotation about +z, counter-clockwise."""
    yaw = np.asarray(yaw_rad, np.float64)
    cos, sin, zero, one = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack(
        [
            np.stack([cos, -sin, zero], -1),
            np.stack([sin, cos, zero], -1),
            np.stack([zero, zero, one], -1),
        ],
        -2,
    )


def wrap_angle(angle_rad: Float[ndarray, "*batch"]) -> Float64[ndarray, "*batch"]:
    """The same angle in (-pi, pi]."""
    return np.pi - np.mod(np.pi - np.asarray(angle_rad, np.float64), 2 * np.pi)


def planar_action(tn_SE3_tn1: Float[ndarray, "*batch 4 4"]) -> Float64[ndarray, "*batch 3"]:
    """TREND's action A_n = (dx, dy, dtheta) of a step whose axes are forward-left-up.

    dx, dy = T[:2, 3] in metres and dtheta = atan2(T[1, 0], T[0, 0]) in (-pi, pi].
    """
    transform = np.asarray(tn_SE3_tn1, np.float64)
    yaw = np.arctan2(transform[..., 1, 0], transform[..., 0, 0])
    yaw = np.where(yaw == -np.pi, np.pi, yaw)  # atan2(-0., -1.) is -pi
    return np.concatenate([transform[..., :2, 3], yaw[..., None]], axis=-1)


def actions_in_t0_axes(
    t0_SE3_tn: Float[ndarray, "*batch frames 4 4"],
) -> Float64[ndarray, "*batch horizons 3"]:
    """dx, dy along the axes of the t0 sensor frame instead of those at t_n, and the yaw change."""
    poses = np.asarray(t0_SE3_tn, np.float64)
    shift = np.diff(poses[..., :2, 3], axis=-2)
    turn = np.swapaxes(poses[..., :-1, :3, :3], -1, -2) @ poses[..., 1:, :3, :3]
    yaw = np.arctan2(turn[..., 1, 0], turn[..., 0, 0])
    return np.concatenate([shift, yaw[..., None]], axis=-1)


def compose_actions(actions: Float[ndarray, "horizons 3"]) -> Float64[ndarray, "frames 4 4"]:
    """Planar t0_SE3_tn for n = 0..l rebuilt from the actions of l consecutive steps."""
    poses = [np.eye(4)]
    for dx, dy, dtheta in actions:
        step = se3(yaw_matrix(float(dtheta)), np.array([dx, dy, 0.0], np.float64))
        poses.append(poses[-1] @ step)
    return np.stack(poses)
