from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foretell.run import check_metrics
from lidar.config import EvalConfig, RaysConfig
from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.structures import Boxes
from lidar.evaluation.baselines import (
    ConstantVelocityOracle,
    CopyLast,
    known_points,
    select_copy_last,
)
from lidar.evaluation.forecast import ForecastRanges, ForecastScores, score
from lidar.evaluation.forecast_table import TableCaption, forecast_tables, mark_extrapolated
from lidar.evaluation.protocols import config_protocol, published_protocol
from lidar.geometry.range_view import AngularBins

VOLUME = [-30.0, -30.0, -5.0, 30.0, 30.0, 3.0]
HORIZONS_S = [0.5, 1.0]


class Offset:
    """The truth plus a constant per horizon."""

    def __init__(self, *offset_m: float, missed: int | None = None) -> None:
        self.offset_m, self.missed = offset_m, missed

    def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
        range_m = window.range_m[frame].astype(np.float64) + self.offset_m[frame - 1]
        if self.missed is None:
            return ForecastRanges(range_m)
        return ForecastRanges(range_m, np.arange(len(range_m)) >= self.missed)


def car_boxes(window: EvaluationWindow, frame: int) -> Boxes:
    """The moving car of `moving_scene` in the axes of an ego at rest."""
    t_s = float(window.t_s[frame])
    return Boxes(
        boxes=np.array([[8 + 6 * t_s, -1, -1, 4, 2, 1.6, 0]]),
        velocity_mps=np.array([[6.0, 0.0]]),
        category=("car",),
        track_id=("0",),
        num_points=np.array([-1]),
    )


def test_keys_and_values_are_hand_computed(drive: Callable[..., Any], static_scene: Any) -> None:
    windows = [drive(static_scene).window(f"log/{i}", i) for i in range(2)]
    metrics = score(
        windows,
        {"model": Offset(0.5, -1.5, missed=100), "other": Offset(0.0, 0.0)},
        EvalConfig(),
        horizons_s=HORIZONS_S,
        point_range=VOLUME,
    )
    check_metrics(metrics)
    assert metrics["forecast/model/all/0.5s/l1_m"] == pytest.approx(0.5, abs=1e-6)
    assert metrics["forecast/model/nonground/1.0s/l1_median_m"] == pytest.approx(1.5, abs=1e-6)
    assert metrics["forecast/model/all/mean/l1_m"] == pytest.approx(1.0, abs=1e-6)
    frames = {key: metrics[f"forecast/model/all/{key}/frames"] for key in ("0.5s", "mean")}
    assert frames == {"0.5s": 2, "mean": 4}
    share = 100 / len(windows[0].range_m[1])
    assert metrics["forecast/model/all/0.5s/missed_volume_share"] == pytest.approx(share)
    assert "forecast/other/all/0.5s/missed_volume_share" not in metrics
    assert metrics["forecast/other/all/mean/cd_m2"] == pytest.approx(0, abs=1e-9)
    assert metrics["forecast/model/all/mean/nfcd_m2"] > 0
    assert not any("moving" in key for key in metrics)


def test_moving_rays_exist_where_boxes_do(drive: Callable[..., Any], moving_scene: Any) -> None:
    config = EvalConfig(chamfer=False, raycast_bins_deg=[1.0])
    baseline = CopyLast(config, num_sweeps=1)
    oracle = ConstantVelocityOracle(config, car_boxes, AngularBins(1.0, 1.0))
    metrics = score(
        [drive(moving_scene).window()],
        {**baseline.predictors(), "const_velocity_oracle": oracle},
        config,
        horizons_s=HORIZONS_S,
        point_range=VOLUME,
        boxes_of=car_boxes,
    )
    name = "copy_last_zbuffer_1deg_t0"
    assert metrics[f"forecast/{name}/moving/0.5s/l1_m"] > 1.0
    for rays in ("moving", "all"):
        error_m = metrics[f"forecast/const_velocity_oracle/{rays}/0.5s/l1_m"]
        assert error_m < 0.6 * metrics[f"forecast/{name}/{rays}/0.5s/l1_m"]
    assert metrics[f"forecast/{name}/static/0.5s/l1_median_m"] < 1e-5


def test_the_copy_last_row_takes_each_metric_from_its_chosen_variant(
    drive: Callable[..., Any], static_scene: Any, forward_pose: Callable[..., np.ndarray]
) -> None:
    poses = [forward_pose(0, 0), forward_pose(2, 0.05), forward_pose(4, 0.1)]
    history = [(forward_pose(-1, 0), -0.1)]
    windows = [drive(static_scene, poses=poses, history=history).window()]
    config = EvalConfig(raycast_bins_deg=[1.0, 3.0], chamfer=False)
    chosen = select_copy_last(
        windows, config, horizons_s=HORIZONS_S, point_range=VOLUME, num_sweeps=2
    )
    assert set(chosen) == {"l1_m", "l1_median_m", "absrel_pct"}
    baseline = CopyLast(config, num_sweeps=2)
    assert len(baseline.variants) == 6
    metrics = score(
        windows, baseline.predictors(), config,
        horizons_s=HORIZONS_S, point_range=VOLUME, copy_last=chosen,
    )  # fmt: skip
    for name, variant in chosen.items():
        row = metrics[f"forecast/copy_last/all/mean/{name}"]
        assert row == metrics[f"forecast/{variant}/all/mean/{name}"]
        assert row == min(metrics[f"forecast/{v.name}/all/mean/{name}"] for v in baseline.variants)
    assert metrics["forecast/copy_last/all/mean/frames"] == 2
    with pytest.raises(ValueError, match="there are none"):
        select_copy_last([], config, horizons_s=HORIZONS_S, point_range=VOLUME, num_sweeps=1)


def test_published_protocols_stand_under_their_own_name(
    drive: Callable[..., Any], static_scene: Any
) -> None:
    times = [0.5 * n for n in range(7)]
    window = drive(static_scene, step_deg=3.0, poses=[np.eye(4)] * 7, times_s=times).window()
    metrics = score(
        [window],
        {"model": Offset(*[0.5] * 6)},
        EvalConfig(protocols=["a_1s", "b"]),
        horizons_s=times[1:],
        point_range=VOLUME,
    )
    check_metrics(metrics)
    a = {key: value for key, value in metrics.items() if key.startswith("forecast/a_1s/")}
    assert {key.split("/")[-2] for key in a} == {"mean"}
    assert a["forecast/a_1s/model/all/mean/frames"] == 2
    assert a["forecast/a_1s/model/all/mean/l1_4docc_m"] == pytest.approx(0.5, abs=0.02)
    b = {key for key in metrics if key.startswith("forecast/b/model/all/")}
    assert len(b) == 12
    assert {key.split("/")[-1] for key in b} == {"cd_m2", "frames"}


def test_frames_without_value_are_counted(drive: Callable[..., Any], static_scene: Any) -> None:
    far_volume = [500.0, 500.0, -5.0, 600.0, 600.0, 3.0]
    metrics = score(
        [drive(static_scene).window()], {"model": Offset(0.1, 0.1)}, EvalConfig(),
        horizons_s=HORIZONS_S, point_range=far_volume,
    )  # fmt: skip
    assert "forecast/model/all/mean/nfcd_m2" not in metrics
    assert metrics["forecast/model/all/mean/nfcd_m2_skipped"] == 2
    assert metrics["forecast/model/all/mean/frames"] == 2


def test_bad_predictions_name_who_and_where(drive: Callable[..., Any], static_scene: Any) -> None:
    window = drive(static_scene).window("drive/000007")

    class Short:
        def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
            return ForecastRanges(np.zeros(3))

    for predictor, message in (
        (Offset(np.nan, 0), "wrong, window drive/000007, frame 1 has"),
        (Short(), "wrong, window drive/000007, frame 1: got"),
    ):
        with pytest.raises(ValueError, match=message):
            score(
                [window], {"wrong": predictor}, EvalConfig(),
                horizons_s=HORIZONS_S, point_range=VOLUME,
            )  # fmt: skip
    with pytest.raises(ValueError, match="has 2 future frames"):
        score([window], {}, EvalConfig(), horizons_s=[0.5, 1.0, 1.5], point_range=VOLUME)


def test_a_frame_without_rays_is_skipped(drive: Callable[..., Any], static_scene: Any) -> None:
    window = drive(static_scene).window()
    empty = [np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, bool)]
    window = replace(
        window,
        direction=(*window.direction[:2], empty[0]),
        range_m=(*window.range_m[:2], empty[1]),
        intensity=(*window.intensity[:2], empty[1]),
        is_ground=(*window.is_ground[:2], empty[2]),
    )
    metrics = score(
        [window], CopyLast(EvalConfig(), num_sweeps=1).predictors(), EvalConfig(),
        horizons_s=HORIZONS_S, point_range=VOLUME,
    )  # fmt: skip
    prefix = "forecast/copy_last_nearest_t0/all"
    assert metrics[f"{prefix}/1.0s/frames"] == 0
    assert metrics[f"{prefix}/mean/l1_m_skipped"] == 1
    assert metrics[f"{prefix}/mean/frames"] == 1


def test_two_processes_equal_one() -> None:
    one, first, second = ForecastScores(), ForecastScores(), ForecastScores()
    for i, part in enumerate((first, second, second)):
        for scores in (one, part):
            scores.add(("", "model", "all", "mean"), {"l1_m": float(i), "cd_m2": None})
    first.merge(second)
    assert first.metrics() == one.metrics()
    assert one.metrics()["forecast/model/all/mean/l1_m"] == 1.0


def test_a_protocol_within_the_trained_horizons_is_not_marked() -> None:
    horizons_s = [0.5, 1.0, 1.5]
    metrics = {f"forecast/{p}model/all/mean/frames": 1.0 for p in ("", "a_1s/")}
    protocols = [config_protocol(horizons_s, VOLUME), published_protocol("a_1s", horizons_s)]
    marked = mark_extrapolated(
        metrics, who=["model"], protocols=protocols, trained_horizons_s=[0.5, 1.0]
    )
    assert set(marked) - set(metrics) == {"forecast/model/all/mean/extrapolated"}


def test_copy_last_may_use_what_the_ego_approaches(
    drive: Callable[..., Any], static_scene: Any, forward_pose: Callable[..., np.ndarray]
) -> None:
    """Limits in range act about the scored sensor: a wall beyond them at t0 is known."""
    poses = [forward_pose(0, 0), forward_pose(6.0, 0), forward_pose(12.0, 0)]
    window = drive(static_scene, poses=poses).window()
    limit = EvalConfig(max_range_m=12.0)
    known = known_points(window, 2, window.t0_points, limit, RaysConfig())
    from_t0, from_t2 = (np.linalg.norm(known - window.origin[n], axis=1) for n in (0, 2))
    assert from_t2.max() <= 12 < from_t0.max()
    own = np.array([[0.3, 0.0, 0.0], [12.2, 0.0, 0.0], [13.5, 0.0, 0.0]], np.float32)
    kept = known_points(window, 2, own, limit, RaysConfig())
    np.testing.assert_array_equal(kept, own[2:])
    nothing_near = known_points(window, 0, np.float32([[50.0, 0, 0]]), limit, RaysConfig())
    assert len(nothing_near) == 1


def test_tables_state_everything_that_a_number_needs() -> None:
    metrics = {
        f"forecast/{who}/all/{horizon}/{name}": value
        for who in ("model", "copy_last")
        for horizon in ("0.5s", "1.0s", "mean")
        for name, value in (("l1_m", 1.25), ("frames", 7), ("cd_m2_skipped", 2))
    }
    marked = mark_extrapolated(
        metrics,
        who=["model"],
        protocols=[config_protocol(HORIZONS_S, VOLUME)],
        trained_horizons_s=[0.5],
    )
    assert set(marked) - set(metrics) == {
        "forecast/model/all/1.0s/extrapolated",
        "forecast/model/all/mean/extrapolated",
    }
    check_metrics(marked)
    (table,) = forecast_tables(marked, TableCaption(10, {"": "config ranges"}))
    assert table.title == (
        "config ranges | all rays | formulas v1 | 10 input sweeps | future pose given"
    )
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["0.5s", "", "1.0s extrapolated", "", "mean extrapolated", ""]
    assert cells[1][:2] == ["model", "copy_last"]
    assert cells[2][0] == "1.250"
    assert cells[-1][0] == "7 (-2)"
