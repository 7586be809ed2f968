from collections.abc import Callable
from typing import Any

import numpy as np

from lidar.data.structures import Boxes
from lidar.evaluation.ray_groups import annotated_boxes, is_moving, measured_points_tn, ray_groups


def boxes_of(speeds: list[tuple[float, float]]) -> Boxes:
    """2 m cubes at x = 0, 10, 20, ..."""
    n = len(speeds)
    box = np.tile([0.0, 0, 0, 2, 2, 2, 0], (n, 1))
    box[:, 0] = 10 * np.arange(n)
    return Boxes(
        boxes=box,
        velocity_mps=np.array(speeds, float).reshape(n, 2),
        category=("car",) * n,
        track_id=tuple(map(str, range(n))),
        num_points=np.full(n, -1, np.int64),
    )


def test_moving_needs_half_a_metre_per_second_and_a_box_with_margin() -> None:
    boxes = boxes_of([(0.6, 0.0), (0.3, 0.3), (np.nan, np.nan), (0.0, -5.0)])
    points = np.array([[1.05, 0, 0], [1.15, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0], [5, 0, 0]])
    assert is_moving(points, boxes).tolist() == [True, False, False, False, True, False]
    assert not is_moving(points, boxes_of([])).any()


def test_groups_partition_the_rays(
    drive: Callable[..., Any], moving_scene: Any, forward_pose: Callable[..., np.ndarray]
) -> None:
    poses = [forward_pose(0, 0), forward_pose(1, 0.1), forward_pose(2, 0.2)]
    window = drive(moving_scene, poses=poses).window()
    assert annotated_boxes(window, 1) is None
    assert set(ray_groups(window, 1, None)) == {"all", "ground", "nonground"}
    groups = ray_groups(window, 1, boxes_of([(3.0, 0)]))
    assert groups["all"].all()
    np.testing.assert_array_equal(groups["ground"], ~groups["nonground"])
    np.testing.assert_array_equal(groups["moving"], ~groups["static"])
    assert {"foreground", "background"}.isdisjoint(groups)
    classes = np.resize(np.array([0, 1, 23, 24, 31], np.uint8), len(groups["all"]))
    groups = ray_groups(window, 1, None, classes)
    assert groups["foreground"][:5].tolist() == [False, True, True, False, False]
    np.testing.assert_array_equal(groups["foreground"], ~groups["background"])
    low = measured_points_tn(window, 1)[:, 2] < -1.5
    np.testing.assert_array_equal(groups["ground"], low)
