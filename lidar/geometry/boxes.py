"""Upright boxes: x y z l w h yaw, centre in metres, l along the heading, yaw counter-clockwise."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor


def points_in_boxes(
    points: Float[ndarray, "points 3"] | Float[Tensor, "points 3"],
    boxes: Float[ndarray, "boxes 7"] | Float[Tensor, "boxes 7"],
    margin_m: float = 0.0,
) -> Bool[ndarray, "points boxes"] | Bool[Tensor, "points boxes"]:
    """Which points lie in which boxes, faces included; every face is moved out by `margin_m`.

    Args:
        points: x y z in the frame of the boxes.
        boxes: x y z l w h yaw; arrays or tensors like `points`.
        margin_m: Metres added on each of the six sides.

    Returns:
        [points, boxes], of the kind (array or tensor) of `points`.
    """
    if isinstance(points, ndarray):
        inside = _inside(
            torch.from_numpy(np.ascontiguousarray(points)),
            torch.as_tensor(boxes).to(torch.float64),
            margin_m,
        )
        return inside.numpy()
    return _inside(points, torch.as_tensor(boxes), margin_m)


def _inside(
    points: Float[Tensor, "points 3"], boxes: Float[Tensor, "boxes 7"], margin_m: float
) -> Bool[Tensor, "points boxes"]:
    inside = torch.zeros(len(points), len(boxes), dtype=torch.bool, device=points.device)
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    # Box by box keeps the memory at one [points] row and skips all but the few near points.
    for box in range(len(boxes)):
        half = boxes[box, 3:6] / 2 + margin_m
        near = ((points[:, 2] - boxes[box, 2]).abs() <= half[2]).nonzero()[:, 0]
        x, y = (points[near, :2] - boxes[box, :2]).unbind(-1)
        along = x * cos[box] + y * sin[box]
        across = y * cos[box] - x * sin[box]
        inside[near, box] = (along.abs() <= half[0]) & (across.abs() <= half[1])
    return inside


def corners(boxes: Float[ndarray, "boxes 7"]) -> Float[ndarray, "boxes 8 3"]:
    """Corner points: bottom face counter-clockwise from front left, then the top face likewise."""
    unit = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    footprint = np.concatenate([unit, unit])  # [8, 2]
    height = np.repeat([-0.5, 0.5], 4)
    local = np.concatenate(
        [footprint * boxes[:, None, 3:5], (height * boxes[:, 5:6])[..., None]], axis=-1
    )
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    rotated = np.stack(
        [
            local[..., 0] * cos - local[..., 1] * sin,
            local[..., 0] * sin + local[..., 1] * cos,
            local[..., 2],
        ],
        axis=-1,
    )
    return np.asarray(rotated + boxes[:, None, :3])


def transform_boxes(
    dst_SE3_src: Float[ndarray, "4 4"], boxes: Float[ndarray, "boxes 7"]
) -> Float[ndarray, "boxes 7"]:
    """Express boxes in another frame; they stay upright there, yaw is that of the turned heading.

    >>> turn = np.array([[0.0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> transform_boxes(turn, np.array([[1.0, 0, 0, 4, 2, 1, 0]])).round(3)
    array([[5.   , 1.   , 0.   , 4.   , 2.   , 1.   , 1.571]])
    """
    rotation = dst_SE3_src[:3, :3]
    heading = np.stack(
        [np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], axis=-1
    ) @ (rotation.T)
    return np.concatenate(
        [
            boxes[:, :3] @ rotation.T + dst_SE3_src[:3, 3],
            boxes[:, 3:6],
            np.arctan2(heading[:, 1], heading[:, 0])[:, None],
        ],
        axis=-1,
    )


def transform_velocity(
    dst_SE3_src: Float[ndarray, "4 4"], velocity_mps: Float[ndarray, "boxes 2"]
) -> Float[ndarray, "boxes 2"]:
    """Turn velocities over the ground (m/s, NaN stays) into the axes of another frame."""
    return np.asarray(velocity_mps @ dst_SE3_src[:2, :2].T)
