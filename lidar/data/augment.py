"""Augmentation: one linear map S of the t0 frame acts on everything (TREND §8 of the spec).

p' = S p and t0_SE3_tn' = S t0_SE3_tn S^-1; actions are recomputed from those poses, so a mirror
image flips dy and dtheta by itself.
"""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lidar.config import AugConfig
from lidar.geometry.se3 import yaw_matrix


def draw_transform(config: AugConfig, rng: np.random.Generator) -> Float64[ndarray, "3 3"]:
    """S = scale * rotation about z * mirror; the identity for the default config.

    `flip_x` mirrors x (x' = -x), `flip_y` mirrors y.
    """
    mirror = np.ones(3)
    flips = rng.random(2) < 0.5
    mirror[:2] = np.where(flips & [config.flip_x, config.flip_y], -1.0, 1.0)
    yaw = rng.uniform(-config.rotation_rad, config.rotation_rad)
    scale = rng.uniform(1 - config.scale, 1 + config.scale)
    return scale * yaw_matrix(yaw) @ np.diag(mirror)


def augment_poses(
    transform: Float64[ndarray, "3 3"], t0_SE3_tn: Float64[ndarray, "frames 4 4"]
) -> Float64[ndarray, "frames 4 4"]:
    """S T S^-1 for each pose: still a rigid motion, S being a similarity."""
    homogeneous = np.eye(4)
    homogeneous[:3, :3] = transform
    poses: Float64[ndarray, "frames 4 4"] = homogeneous @ t0_SE3_tn @ np.linalg.inv(homogeneous)
    return poses
