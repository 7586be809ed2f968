"""Rigid transforms against SciPy, and T15: actions rebuild planar motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from lidar.geometry.se3 import (
    compose_actions,
    invert,
    matrix_from_quaternion_wxyz,
    planar_action,
    quaternion_wxyz_from_matrix,
    se3,
    transform_points,
    wrap_angle,
    yaw_matrix,
)

quaternions = arrays(np.float64, (5, 4), elements=st.floats(-1, 1)).filter(
    lambda q: bool((np.linalg.norm(q, axis=1) > 1e-3).all())
)


@given(quaternions)
@settings(max_examples=50, deadline=None)
def test_quaternions_equal_scipy_and_round_trip(quaternion):
    matrix = matrix_from_quaternion_wxyz(quaternion)
    oracle = Rotation.from_quat(quaternion[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(matrix, oracle, atol=1e-12)
    back = quaternion_wxyz_from_matrix(matrix)
    np.testing.assert_allclose(matrix_from_quaternion_wxyz(back), oracle, atol=1e-12)
    assert (back[:, 0] >= 0).all()


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_half_turns_have_a_finite_quaternion(axis):
    matrix = Rotation.from_rotvec(np.pi * np.array(axis)).as_matrix()
    quaternion = quaternion_wxyz_from_matrix(matrix)
    np.testing.assert_allclose(np.abs(quaternion), [0, *axis], atol=1e-12)


def test_zero_quaternion_is_refused():
    with pytest.raises(ValueError, match="no rotation"):
        matrix_from_quaternion_wxyz(np.zeros(4))


def test_wrong_quaternion_order_is_another_rotation():
    wxyz = np.array([0.9, 0.1, 0.2, 0.3])
    right = matrix_from_quaternion_wxyz(wxyz)
    assert np.abs(matrix_from_quaternion_wxyz(wxyz[[1, 2, 3, 0]]) - right).max() > 0.1


@given(quaternions, arrays(np.float64, (5, 3), elements=st.floats(-1e4, 1e4)))
@settings(max_examples=30, deadline=None)
def test_inverse_undoes_the_transform(quaternion, translation):
    transform = se3(matrix_from_quaternion_wxyz(quaternion), translation)
    np.testing.assert_allclose(
        invert(transform) @ transform, np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-10
    )
    points = np.array([[1.0, -2.0, 3.0, 0.5]])
    moved = transform_points(transform[0], points)
    back = transform_points(invert(transform[0]), moved)
    np.testing.assert_allclose(back, points[:, :3], atol=1e-8)


@given(arrays(np.float64, (4, 3), elements=st.floats(-3, 3)))
@settings(max_examples=50, deadline=None)
def test_actions_rebuild_planar_motion(steps):
    """T15: from poses to actions and back, yaw sums far beyond a turn included."""
    poses = compose_actions(steps)
    actions = planar_action(invert(poses[:-1]) @ poses[1:])
    np.testing.assert_allclose(compose_actions(actions), poses, atol=1e-12)
    np.testing.assert_allclose(actions[:, :2], steps[:, :2], atol=1e-12)
    assert ((actions[:, 2] > -np.pi) & (actions[:, 2] <= np.pi)).all()


def test_yaw_wraps_into_the_half_open_interval():
    for turn in (np.pi, -np.pi, 3 * np.pi):
        action = planar_action(se3(yaw_matrix(turn), np.zeros(3)))
        assert action[2] == pytest.approx(np.pi)
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    half_turn[1, 0] = -0.0
    assert planar_action(half_turn)[2] == np.pi
    np.testing.assert_allclose(
        wrap_angle(np.array([np.pi, -np.pi, 3.5 * np.pi])), [np.pi, np.pi, -0.5 * np.pi]
    )


def test_batches_equal_single_transforms():
    rng = np.random.default_rng(0)
    quaternion = rng.normal(size=(2, 3, 4))
    batch = matrix_from_quaternion_wxyz(quaternion)
    np.testing.assert_array_equal(batch[1, 2], matrix_from_quaternion_wxyz(quaternion[1, 2]))
    np.testing.assert_allclose(
        planar_action(se3(batch, rng.normal(size=(2, 3, 3))))[1, 2, 2],
        np.arctan2(batch[1, 2, 1, 0], batch[1, 2, 0, 0]),
    )
