"""What a forecast evaluation is given."""

import dataclasses

import numpy as np
import pytest

from lidar.config import DataConfig, EvalConfig, PretrainConfig
from lidar.data.evaluation_window import evaluation_window
from lidar.data.index import open_dataset
from lidar.data.windows import windows_of
from lidar.evaluation.baselines import CopyLast
from lidar.evaluation.forecast import score
from lidar.evaluation.ray_groups import annotated_classes
from lidar.geometry.se3 import transform_points


@pytest.fixture
def window_and_config(nuscenes_root):
    data = DataConfig(kind="nuscenes", root=str(nuscenes_root), version="v1.0-mini", num_sweeps=3)
    windows = windows_of(open_dataset(data).select(["val"]), data, [0.5, 1.0])
    return windows[0], PretrainConfig(data=data)


def test_all_rays_of_every_frame(window_and_config):
    window, config = window_and_config
    scored = evaluation_window(window, config)
    assert scored.t_s.tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert len(scored.range_m) == 3 and scored.name == "scene-0103/000000"
    assert scored.points.shape[1] == 5 and len(scored.t0_points) == 300
    for n, frame in enumerate(window.all_frames):
        hits = scored.origin[n] + scored.range_m[n][:, None] * scored.direction[n]
        sweep = window.log.sweep(frame).points
        xyz = sweep[:, :3]
        near = np.linalg.norm(xyz, axis=1) < 1.0
        in_box = (np.abs(xyz[:, 0]) < 1) & (xyz[:, 1] > -1.5) & (xyz[:, 1] < 2.5)
        kept = xyz[~near & ~in_box]
        np.testing.assert_allclose(hits, transform_points(scored.t0_SE3_tn[n], kept), atol=1e-4)
        np.testing.assert_array_equal(scored.is_ground[n], kept[:, 2] + 1.84 < 0.3)
        np.testing.assert_array_equal(xyz[scored.row[n]], kept)
        assert 0 <= scored.intensity[n].min() and scored.intensity[n].max() <= 1
    assert scored.is_ground[0].any() and not scored.is_ground[0].all()
    assert len(scored.window.log.boxes(window.t0)) == 1


def test_limits_of_range_and_number(window_and_config):
    window, config = window_and_config
    limited = dataclasses.replace(
        config, eval=EvalConfig(min_range_m=5.0, max_range_m=15.0, max_rays=40)
    )
    scored, again = evaluation_window(window, limited), evaluation_window(window, limited)
    for ranges, repeated in zip(scored.range_m, again.range_m, strict=True):
        assert len(ranges) == 40 and ranges.min() >= 5 and ranges.max() <= 15
        np.testing.assert_array_equal(ranges, repeated)


def test_history_leaves_out_the_own_car_of_the_sweep_that_saw_it(window_and_config):
    """The input keeps what lies beyond 1 m, as detectors do; what is copied forward must not."""
    window, config = window_and_config
    window = dataclasses.replace(window, t0=12, frames=(16, 20))
    scored = evaluation_window(window, config)
    expected, num_beyond_1_m = [], 0
    for source in (12, 11, 10):
        xyz = window.log.sweep(source).points[:, :3]
        x, y = xyz[:, 0], xyz[:, 1]
        carrier = (np.abs(x) < 1) & (y > -1.5) & (y < 2.5)
        carrier |= (np.abs(x) < 1) & (np.abs(y) < 1)
        num_beyond_1_m += int((carrier & (np.abs(y) >= 1)).sum())
        poses = window.log.global_SE3_lidar
        t0_SE3_source = np.linalg.inv(poses[12]) @ poses[source]
        expected.append(transform_points(t0_SE3_source, xyz[~carrier]))
    np.testing.assert_allclose(scored.history_points, np.concatenate(expected), atol=1e-3)
    assert num_beyond_1_m > 0
    assert len(scored.points) == len(scored.history_points) + num_beyond_1_m


def test_classes_follow_the_scored_returns(tmp_path, nuscenes_writer):
    """Own-car and near returns are left out of the rays, and of the classes with them."""
    writer = nuscenes_writer(tmp_path)
    writer.scene("scene-0061")
    written = writer.point_classes("samples/LIDAR_TOP/scene-0061_10.pcd.bin")
    data = DataConfig(root=str(writer.finish()), version="v1.0-mini", num_sweeps=1)
    window = windows_of(open_dataset(data).select(["all"]), data, [0.5])[0]
    scored = evaluation_window(window, PretrainConfig(data=data))
    classes = annotated_classes(scored, 1)
    assert classes is not None and len(classes) == len(scored.range_m[1]) < 300
    xyz = window.log.sweep(10).points[:, :3]
    kept = np.isin(np.linalg.norm(xyz, axis=1), scored.range_m[1])
    np.testing.assert_array_equal(classes, written[kept])
    assert annotated_classes(scored, 0) is None
    metrics = score(
        [scored],
        CopyLast(EvalConfig(), num_sweeps=1).predictors(),
        EvalConfig(),
        horizons_s=[0.5],
        point_range=data.point_range,
        classes_of=annotated_classes,
    )
    assert metrics["forecast/copy_last_nearest_t0/foreground/0.5s/nfcd_m2"] > 0
