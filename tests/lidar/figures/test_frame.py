import dataclasses

import numpy as np
import pytest

from lidar.figures.frame import ForecastFrame, check_frames


def frame(predicted: list[float]) -> ForecastFrame:
    return ForecastFrame(
        horizon_s=0.5,
        t0_SE3_tn=np.eye(4),
        origin=np.array([1.0, 0.0, 0.0]),
        direction=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        true_m=np.array([2.0, 4.0]),
        predicted_m={"trend": np.array(predicted)},
    )


def test_points_lie_on_the_rays_from_the_origin() -> None:
    np.testing.assert_allclose(frame([2, 4]).points(), [[3, 0, 0], [1, 4, 0]])
    np.testing.assert_allclose(frame([1.0, 3]).points("trend"), [[2, 0, 0], [1, 3, 0]])


def test_error_is_prediction_minus_truth() -> None:
    np.testing.assert_allclose(frame([1.0, 7.0]).error_m("trend"), [-1.0, 3.0])
    assert frame([1.0, 7.0]).score("trend") == "L1 2.00 m"


def test_rays_without_answer_are_named_and_not_averaged() -> None:
    assert frame([np.nan, 7.0]).score("trend") == "L1 3.00 m, 50 % unanswered"
    assert frame([np.nan, np.nan]).score("trend") == "no answer"


def test_unknown_who_is_named_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="no forecast by 'nobody'.*it has trend"):
        frame([1.0, 7.0]).points("nobody")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predicted_m\['trend'\] must be \(2,\), got \(3,\)"):
        frame([1.0, 2.0, 3.0])


def test_nothing_to_draw_is_one_line() -> None:
    with pytest.raises(ValueError, match="^bev_comparison: there is no frame to draw$"):
        check_frames([], "bev_comparison")
    blind = dataclasses.replace(frame([1.0, 2.0]), true_m=np.full(2, np.nan))
    with pytest.raises(ValueError, match=r"frame 0 \(0.5 s\) has no measured range"):
        check_frames([blind], "bev_comparison")
