import json
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar.geometry.boxes import corners, points_in_boxes, transform_boxes, transform_velocity
from lidar.geometry.se3 import se3, transform_points


def yaw_matrix(yaw: float) -> np.ndarray:
    return np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])


def test_points_in_a_turned_box_are_hand_computed() -> None:
    box = np.array([[10.0, 0, 1, 4, 2, 2, np.pi / 2]])  # 4 m along y
    points = np.array([[10.0, 1.99, 1], [11.5, 0, 1], [10.9, -1.9, 1.9], [10, 0, 2.05]])
    assert points_in_boxes(points, box)[:, 0].tolist() == [True, False, True, False]
    assert points_in_boxes(points, box, 0.1)[:, 0].tolist() == [True, False, True, True]
    tensor = points_in_boxes(torch.from_numpy(points), torch.from_numpy(box))
    assert isinstance(tensor, torch.Tensor)
    assert tensor[:, 0].tolist() == [True, False, True, False]


def test_empty_points_and_boxes() -> None:
    assert points_in_boxes(np.zeros((0, 3)), np.zeros((2, 7))).shape == (0, 2)
    assert points_in_boxes(np.zeros((3, 3), np.float32), np.zeros((0, 7))).shape == (3, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3, 3), st.floats(-50, 50))
def test_a_rigid_planar_transform_keeps_points_in_their_boxes(
    seed: int, yaw: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform([-5, -5, -1, 1, 1, 1, -3], [5, 5, 1, 5, 3, 2, 3], (6, 7))
    points = rng.uniform(-6, 6, (200, 3))
    transform = se3(yaw_matrix(yaw), np.array([shift, -shift, 0.5]))
    moved = transform_boxes(transform, boxes)
    # A point within rounding of a face may fall on either side.
    clear = points_in_boxes(points, boxes, 1e-6) == points_in_boxes(points, boxes, -1e-6)
    same = points_in_boxes(transform_points(transform, points), moved) == points_in_boxes(
        points, boxes
    )
    assert same[clear].all()
    np.testing.assert_allclose(
        corners(moved).reshape(-1, 3),
        transform_points(transform, corners(boxes).reshape(-1, 3)),
        atol=1e-9,
    )


def test_corners_go_round_the_bottom_first() -> None:
    box = np.array([[1.0, 2, 3, 4, 2, 6, 0]])
    assert corners(box)[0].tolist() == [
        [3, 3, 0], [-1, 3, 0], [-1, 1, 0], [3, 1, 0],
        [3, 3, 6], [-1, 3, 6], [-1, 1, 6], [3, 1, 6],
    ]  # fmt: skip


def test_velocity_turns_and_keeps_nan() -> None:
    turn = se3(yaw_matrix(np.pi / 2), np.array([5.0, 5, 5]))
    velocity = transform_velocity(turn, np.array([[2.0, 0], [np.nan, np.nan]]))
    np.testing.assert_allclose(velocity[0], [0, 2], atol=1e-12)
    assert np.isnan(velocity[1]).all()


def test_nuscenes_boxes_hold_their_annotated_points(test_data: Path) -> None:
    folder = test_data / "lidar" / "nuscenes"
    (file,) = (folder / "samples/LIDAR_TOP").glob("*.pcd.bin")
    points = np.fromfile(file, np.float32).reshape(-1, 5)[:, :3]
    info = json.loads((folder / "mmdet3d_info_ca9a282c.json").read_text())
    instances = info["data_list"][0]["instances"]
    boxes = np.array([instance["bbox_3d"] for instance in instances])
    counted = points_in_boxes(points, boxes).sum(axis=0)
    difference = np.abs(counted - [instance["num_lidar_pts"] for instance in instances])
    assert (len(boxes), (difference == 0).sum(), (difference <= 1).sum()) == (69, 61, 65)
