"""Groups of rays that are scored apart: all, ground, nonground, moving, static, foreground.

Ground follows the height rule of the ray filter (`rays.z_thd`). Moving = the measured point lies in
a box (0.1 m larger on each side) of a track faster than 0.5 m/s over the ground, else static; both
exist only where boxes do. Foreground = 4D-Occ's: nuScenes-lidarseg classes 1 to 23, which says what
a point is, not whether it moves; background = the rest. Labels serve evaluation alone.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from numpy import ndarray

from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.structures import Boxes
from lidar.geometry.boxes import points_in_boxes
from lidar.geometry.se3 import invert, transform_points

MOVING_MPS = 0.5
"""A track faster than this moves."""
MARGIN_M = 0.1
"""Boxes are this much larger on each side."""
FOREGROUND = (1, 23)
"""First and last nuScenes-lidarseg class of 4D-Occ's foreground."""


def annotated_boxes(window: EvaluationWindow, frame: int) -> Boxes | None:
    """Boxes of the sweep at t_n in its sensor frame; none where it is not annotated."""
    return window.window.log.boxes(window.window.all_frames[frame])


def annotated_classes(window: EvaluationWindow, frame: int) -> UInt8[ndarray, " rays"] | None:
    """Annotated class of every scored return at t_n; none where the sweep has none."""
    classes = window.window.log.point_classes(window.window.all_frames[frame])
    return None if classes is None else classes[window.row[frame]]


def measured_points_tn(window: EvaluationWindow, frame: int) -> Float64[ndarray, "rays 3"]:
    """Measured returns of a frame in its own sensor frame, metres."""
    points_t0 = measured_points_t0(window, frame)
    return transform_points(invert(window.t0_SE3_tn[frame]), points_t0)


def measured_points_flu(window: EvaluationWindow, frame: int) -> Float64[ndarray, "rays 3"]:
    """Measured returns of a frame in forward-left-up axes at its sensor, metres."""
    flu_R_lidar = window.window.log.sensor.flu_R_lidar
    return np.asarray(measured_points_tn(window, frame) @ flu_R_lidar.T)


def measured_points_t0(window: EvaluationWindow, frame: int) -> Float64[ndarray, "rays 3"]:
    """Measured returns of a frame in the t0 sensor frame, o + r d, metres."""
    return points_on_rays(window, frame, window.range_m[frame])


def points_on_rays(
    window: EvaluationWindow, frame: int, range_m: Float[ndarray, " rays"]
) -> Float64[ndarray, "rays 3"]:
    """o + r d in the t0 sensor frame, metres, for a range on each of the frame's rays."""
    direction = window.direction[frame].astype(np.float64)
    points: ndarray = window.origin[frame] + range_m[:, None] * direction
    return points


def ray_groups(
    window: EvaluationWindow,
    frame: int,
    boxes: Boxes | None,
    classes: UInt8[ndarray, " rays"] | None = None,
) -> dict[str, Bool[ndarray, " rays"]]:
    """Mask of every group that exists for a frame.

    Args:
        window: Rays and measured ranges.
        frame: n of t_n, 0 = t0.
        boxes: Boxes of the sweep at t_n in its sensor frame; none = not annotated.
        classes: nuScenes-lidarseg class of each return; none = not annotated.
    """
    ground = np.asarray(window.is_ground[frame], bool)
    groups = {"all": np.ones(len(ground), bool), "nonground": ~ground, "ground": ground}
    if boxes is not None:
        moving = is_moving(measured_points_tn(window, frame), boxes)
        groups |= {"moving": moving, "static": ~moving}
    if classes is not None:
        foreground = (classes >= FOREGROUND[0]) & (classes <= FOREGROUND[1])
        groups |= {"foreground": foreground, "background": ~foreground}
    return groups


def is_moving(points: Float[ndarray, "points 3"], boxes: Boxes) -> Bool[ndarray, " points"]:
    """Points in a box of a track faster than 0.5 m/s; an unknown velocity counts as at rest.

    Args:
        points: x y z in the frame of the boxes, metres.
        boxes: Boxes of the same sweep; each side is grown by `MARGIN_M`.
    """
    fast = np.nan_to_num(np.linalg.norm(boxes.velocity_mps, axis=1)) > MOVING_MPS
    inside = np.asarray(points_in_boxes(points, boxes.boxes[fast], MARGIN_M))
    moving: ndarray = inside.any(axis=1)
    return moving
