"""Training samples: keyed draws, curriculum (T8), no labels (T12), no leak of the future (T20)."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import chisquare

from foretell.errors import UserError
from lidar.config import (
    AblationConfig,
    AugConfig,
    CurriculumConfig,
    DataConfig,
    MaskConfig,
    PretrainConfig,
    RaysConfig,
    RecConfig,
    forecast_horizons_s,
)
from lidar.data.features import feature_columns, input_features, scaled_intensity
from lidar.data.index import open_dataset
from lidar.data.kitti import SENSOR as KITTI
from lidar.data.log_view import LabelAccessError
from lidar.data.nuscenes import SENSOR as NUSCENES
from lidar.data.structures import Sweep
from lidar.data.window_dataset import WindowDataset
from lidar.data.windows import windows_of


@pytest.fixture
def config(tmp_path, write_kitti):
    write_kitti(tmp_path, 24)
    return PretrainConfig(
        data=DataConfig(
            kind="kitti",
            root=str(tmp_path),
            horizons_s=[0.2, 0.4, 0.6],
            point_range=[-25.6, -25.6, -5.0, 25.6, 25.6, 3.0],
            voxel_size=[0.2, 0.2, 0.2],
        ),
        rays=RaysConfig(n=64),
        curriculum=CurriculumConfig(stages=[[1, 2], [3, 5]]),
    )


def build(config, *, training=True, seed=0):
    dataset = open_dataset(config.data)
    windows = windows_of(dataset.select(["all"]), config.data, forecast_horizons_s(config))
    return WindowDataset(windows, config, training=training, seed=seed)


def same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("points", "frame_index", "ray_o", "ray_d", "ray_r", "ray_i", "ray_valid")
    )


def test_a_sample_has_the_contracted_arrays(config):
    dataset = build(config)
    sample = dataset[(5, 4)]
    assert sample.t_s.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(sample.t0_SE3_tn[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(sample.action, np.tile([1.0, 0, 0], (3, 1)), atol=1e-6)
    assert sample.points.shape[1] == 4 and sample.points.dtype == np.float32
    assert sample.frame_index[0] == 0 and len(sample.frame_index) == 2
    assert sample.ray_o.shape == (2, 64, 3) and sample.ray_valid.all()
    m = int(sample.frame_index[1])
    np.testing.assert_allclose(sample.ray_o[1, 0], [m, 0, 0], atol=1e-6)  # 1 m a horizon
    assert 0.05 < sample.kept["input_unmasked"] < 0.2
    assert {"t0_ground", "tm_ground", "tm_inside_volume", "input_inside"} <= set(sample.kept)
    assert sample.name == "00/000004" and len(dataset) == 18
    assert not hasattr(sample, "boxes")


def test_rays_hit_the_unmasked_sweep(config):
    dataset = build(config)
    sample = dataset[(0, 3)]
    hits = sample.ray_o[0] + sample.ray_r[0][:, None] * sample.ray_d[0]
    sweep = dataset.windows[3].log.sweep(3).points[:, :3]
    nearest = np.linalg.norm(hits[:, None] - sweep, axis=2).min(1)
    assert nearest.max() < 1e-4


def test_draws_depend_on_seed_epoch_and_index_alone(config):
    dataset, again = build(config), build(config)
    again[(9, 1)], again[(4, 7)]
    np.random.seed(5)
    assert same(dataset[(4, 2)], again[(4, 2)])
    assert dataset[(4, 2)].seed == again[(4, 2)].seed
    again.set_epoch(4)
    assert same(dataset[(4, 2)], again[2])
    for other in (dataset[(5, 2)], build(config, seed=1)[(4, 2)]):
        assert not np.array_equal(dataset[(4, 2)].ray_r, other.ray_r)
        assert dataset[(4, 2)].seed != other.seed


def test_purposes_have_their_own_streams(config):
    """More rays do not move the mask; another mask does not move the rays."""
    sample = build(config)[(4, 2)]
    more = dataclasses.replace(config, rays=dataclasses.replace(config.rays, n=100))
    np.testing.assert_array_equal(build(more)[(4, 2)].points, sample.points)
    unmasked = dataclasses.replace(config, mask=MaskConfig("none", 0.0))
    np.testing.assert_array_equal(build(unmasked)[(4, 2)].ray_r, sample.ray_r)
    assert len(build(unmasked)[(4, 2)].points) > 5 * len(sample.points)


def test_horizon_frequencies_follow_p(config):
    """T8: chi-square of m against p^(m-1); t0 is always rendered."""
    dataset = build(config)
    drawn = []
    for epoch in range(3, 40):
        for index in range(len(dataset)):
            key = dataset._future(epoch, _key(epoch, index), 3)
            drawn += key
    counts = np.bincount(drawn, minlength=4)[1:]
    expected = np.array([4, 2, 1]) / 7 * counts.sum()
    assert chisquare(counts, expected).pvalue > 0.01
    assert all(dataset[(epoch, 0)].frame_index[0] == 0 for epoch in range(8))


def _key(epoch, index):
    from lidar.data.draws import SampleKey

    return SampleKey(0, epoch, index)


def test_stages_enable_horizons(config):
    dataset = build(config)
    none_yet = dataclasses.replace(config.curriculum, max_horizon=0)
    current_only = build(dataclasses.replace(config, curriculum=none_yet))
    assert current_only[(3, 0)].frame_index.tolist() == [0]
    assert {int(dataset[(1, i)].frame_index[1]) for i in range(18)} == {1}
    assert {int(dataset[(3, i)].frame_index[1]) for i in range(18)} == {1, 2, 3}
    level = dataclasses.replace(config, ablation=AblationConfig("nf"))
    assert build(level)[(5, 0)].frame_index.tolist() == [0]
    switched_off = dataclasses.replace(config.curriculum, enabled=False)
    always = build(dataclasses.replace(config, curriculum=switched_off))
    assert {int(always[(0, i)].frame_index[1]) for i in range(18)} == {1, 2, 3}


def test_validation_samples_do_not_change_with_the_epoch(config):
    augmented = dataclasses.replace(config, aug=AugConfig(flip_y=True, rotation_rad=0.5))
    dataset = build(augmented, training=False)
    assert same(dataset[(0, 5)], dataset[(7, 5)])
    np.testing.assert_allclose(dataset[(0, 5)].action[:, 1:], 0, atol=1e-6)


def test_validation_watches_the_last_stage_alone(config):
    """No horizon that the curriculum never reaches."""
    stages = dataclasses.replace(config.curriculum, stages=[[1, 2], [2, 5]])
    dataset = build(dataclasses.replace(config, curriculum=stages), training=False)
    assert {int(dataset[(0, i)].frame_index[1]) for i in range(18)} == {1, 2}


def test_the_watched_copy_last_ignores_the_own_car(config, tmp_path):
    dataset = build(config)
    before = dataset[(5, 2)].copy_last_l1_m
    path = tmp_path / "sequences" / "00" / "velodyne" / "000002.bin"
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    angle = np.linspace(0, 2 * np.pi, 400)
    bonnet = np.stack([0.6 * np.cos(angle), 0.6 * np.sin(angle), 0 * angle - 0.4, 0 * angle], 1)
    np.concatenate([points, bonnet]).astype("<f4").tofile(path)
    assert build(config)[(5, 2)].copy_last_l1_m == before


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_surprises_are_what_a_copy_of_t0_misses(config, tmp_path, yaw):
    """A ring of returns at 15 m, of which a third comes 5 m nearer in the future sweeps."""
    angle = np.radians(np.arange(0, 360, 0.5) + 0.25)
    ring = np.stack([15 * np.cos(angle), 15 * np.sin(angle), 0 * angle, 0 * angle], 1)
    came = angle < 2 * np.pi / 3
    nearer = np.where(came[:, None], ring * (2 / 3), ring)
    folder = tmp_path / "sequences" / "00"
    for i in range(24):
        (ring if i < 6 else nearer).astype("<f4").tofile(folder / "velodyne" / f"{i:06d}.bin")
    poses = np.loadtxt(folder / "poses.txt").reshape(-1, 3, 4)
    poses[:, 2, 3] = 0  # at rest
    np.savetxt(folder / "poses.txt", poses.reshape(-1, 12))

    def share(weight, slot):
        rays = RaysConfig(n=180, ground_filter=False, surprise_weight=weight)
        aug = AugConfig(rotation_rad=yaw)
        sample = build(dataclasses.replace(config, rays=rays, aug=aug))[(5, 5)]
        return float((sample.ray_r[slot] < 12).mean())

    assert share(1.0, 1) == pytest.approx(1 / 3, abs=0.1)
    assert share(1e6, 1) == 1  # 240 nearer returns for 180 rays
    assert share(1e-6, 1) == 0
    assert share(1e6, 0) == 0  # the t0 frame has no surprises


def test_augmentation_moves_points_rays_and_actions_together(config):
    config = dataclasses.replace(
        config, aug=AugConfig(rotation_rad=1.0), mask=MaskConfig("none", 0.0),
        rays=dataclasses.replace(config.rays, n=2000, ground_filter=False),
    )  # fmt: skip
    sample = build(config)[(5, 3)]
    hits = sample.ray_o[0] + sample.ray_r[0][:, None] * sample.ray_d[0]
    hits = hits[sample.ray_valid[0]]
    assert np.linalg.norm(hits[:, None] - sample.points[:, :3], axis=2).min(1).max() < 1e-4
    assert np.abs(sample.action[:, 1]).max() > 0.05
    np.testing.assert_allclose(np.diff(sample.t0_SE3_tn[:, :2, 3], axis=0), sample.action[:, :2],
                               atol=1e-6)  # fmt: skip


def test_t20_the_encoder_input_knows_neither_future_nor_masked_voxels(config, tmp_path):
    before = build(config)[(5, 0)]
    folder = tmp_path / "sequences" / "00" / "velodyne"
    for i in range(1, 24):
        np.full((7, 4), 0.5, "<f4").tofile(folder / f"{i:06d}.bin")
    points = np.fromfile(folder / "000000.bin", "<f4").reshape(-1, 4)
    seen = (points[:, None] == before.points).all(2).any(1)
    assert 0 < seen.sum() == len(before.points) < 0.3 * len(points)
    points[~seen, 3] = 1 - points[~seen, 3]
    points.tofile(folder / "000000.bin")
    after = build(config)[(5, 0)]
    np.testing.assert_array_equal(after.points, before.points)
    assert not np.array_equal(after.ray_i[0], before.ray_i[0])  # the targets do know


def turning(config, root):
    """The drive with a step and a turn that differ from sweep to sweep, told in two ways."""
    angles, path = 0.01 * np.arange(24) ** 1.5, root / "sequences" / "00" / "poses.txt"
    poses = np.loadtxt(path).reshape(-1, 3, 4)
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angles)
    poses[:, 0, 2], poses[:, 2, 0] = -np.sin(angles), np.sin(angles)
    poses[:, 2, 3] = 0.5 * np.arange(24) ** 1.2
    np.savetxt(path, poses.reshape(24, 12))
    return {
        (action, frame): build(
            dataclasses.replace(config, rec=RecConfig(action=action, action_frame=frame))
        )
        for action in ("true", "shuffled")
        for frame in ("ego_tn", "sensor_t0")
    }


@pytest.mark.parametrize("frame", ["ego_tn", "sensor_t0"])
def test_a_shuffled_action_is_another_windows_and_keyed(config, tmp_path, frame):
    """It depends on (seed, epoch, index), so neither on the batch nor on the process."""
    datasets = turning(config, tmp_path)
    true, shuffled = datasets["true", frame], datasets["shuffled", frame]
    actions = np.stack([true[(3, i)].action for i in range(len(true))])
    told = [
        [
            int(np.flatnonzero((actions == shuffled[(e, i)].action).all((1, 2)))[0])
            for i in range(18)
        ]
        for e in (3, 4)
    ]
    assert all(other != own for row in told for own, other in enumerate(row))
    assert told[0] != told[1] and len(set(told[0])) > 6
    again = turning(config, tmp_path)["shuffled", frame]
    np.testing.assert_array_equal(again[(3, 5)].action, shuffled[(3, 5)].action)
    assert same(true[(3, 5)], shuffled[(3, 5)])  # and moves no other draw


def test_told_actions_follow_the_configured_axes(config, tmp_path):
    datasets = turning(config, tmp_path)
    ego, t0 = datasets["true", "ego_tn"][(3, 9)], datasets["true", "sensor_t0"][(3, 9)]
    np.testing.assert_allclose(t0.action[:, :2], np.diff(t0.t0_SE3_tn[:, :2, 3], axis=0), atol=1e-6)
    np.testing.assert_allclose(ego.action[:, 2], t0.action[:, 2], atol=1e-6)
    assert np.abs(ego.action[1:, :2] - t0.action[1:, :2]).max() > 0.02


def test_one_window_alone_has_no_other_action(config):
    dataset = build(config)
    shuffled = dataclasses.replace(config, rec=RecConfig(action="shuffled"))
    with pytest.raises(UserError, match=r"rec.action shuffled takes .* one window alone"):
        WindowDataset(dataset.windows[:1], shuffled, training=True)


def test_labels_are_out_of_reach(nuscenes_root):
    """T12: any label access in pretraining raises; the same log shows boxes to the evaluation."""
    data = DataConfig(kind="nuscenes", root=str(nuscenes_root), version="v1.0-mini", num_sweeps=3)
    config = PretrainConfig(data=data, rays=RaysConfig(n=32))
    dataset = open_dataset(data)
    windows = windows_of(dataset.select(["train"]), data, [0.5, 1.0])
    samples = WindowDataset(windows, config, training=True)
    assert samples[(0, 0)].points.shape[1] == 5
    with pytest.raises(LabelAccessError, match="must not see them"):
        samples.windows[0].log.boxes(0)
    with pytest.raises(LabelAccessError):
        dataset.select(["train"], labels=False)[0].boxes(0)
    assert len(windows[0].log.boxes(0)) == 1


def test_pretraining_reads_no_annotation_file(nuscenes_root):
    """T12: samples are the same bytes with and without the annotation tables."""
    data = DataConfig(kind="nuscenes", root=str(nuscenes_root), version="v1.0-mini")
    config = PretrainConfig(data=data, rays=RaysConfig(n=32))

    def sample():
        windows = windows_of(open_dataset(data).select(["train"]), data, [0.5])
        return WindowDataset(windows, config, training=True)[(0, 0)]

    before = sample()
    for name in ("sample_annotation", "instance", "category", "attribute", "visibility"):
        (nuscenes_root / "v1.0-mini" / f"{name}.json").unlink()
    for path in (nuscenes_root / ".foretell" / "v1.0-mini").glob("*"):
        path.unlink()
    assert same(before, sample())


def test_intensity_out_of_range_names_the_sweep(config, tmp_path):
    path = tmp_path / "sequences" / "00" / "velodyne" / "000002.bin"
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    points[:, 3] *= 255
    points.tofile(path)
    dataset = build(config)
    with pytest.raises(UserError, match=rf"intensity of the HDL-64E sweep {path} reaches"):
        dataset[(0, 2)]
    joined = dataclasses.replace(config, data=dataclasses.replace(config.data, num_sweeps=3))
    with pytest.raises(UserError, match=r"000003.bin or an earlier one reaches"):
        build(joined)[(0, 3)]


def test_voxel_size_must_divide_the_range(config):
    data = dataclasses.replace(config.data, voxel_size=[0.3, 0.2, 0.2])
    with pytest.raises(UserError, match=r"voxel_size 0.3 does not divide the x range"):
        build(dataclasses.replace(config, data=data))


def sweep_of(intensity, columns=("x", "y", "z", "intensity")):
    points = np.ones((len(intensity), len(columns)), np.float32)
    points[:, columns.index("intensity")] = intensity
    return Sweep(points, columns, 0, np.eye(4))


def test_feature_columns_and_intensity_rules():
    one, ten = DataConfig(num_sweeps=1), DataConfig(num_sweeps=10)
    assert feature_columns(one, KITTI) == ["x", "y", "z", "intensity"]
    assert feature_columns(ten, NUSCENES) == ["x", "y", "z", "intensity", "dt"]
    blind = dataclasses.replace(KITTI, intensity_rule="none")
    assert feature_columns(ten, blind) == ["x", "y", "z", "dt"]
    assert np.isnan(scaled_intensity(sweep_of([0.5]), one, blind)).all()
    np.testing.assert_allclose(scaled_intensity(sweep_of([51.0]), one, NUSCENES), [0.2])
    tanh = DataConfig(intensity_scale="tanh")
    np.testing.assert_allclose(scaled_intensity(sweep_of([2.0]), tanh, KITTI), [np.tanh(2.0)])
    with pytest.raises(UserError, match=r"3 to 3, .*0 to 1; set \S+ to divide_255 or tanh$"):
        scaled_intensity(sweep_of([3.0]), one, KITTI)
    with pytest.raises(UserError, match=r"'divide_255' expects 0 to 255; set \S+ to tanh$"):
        scaled_intensity(sweep_of([300.0]), one, NUSCENES)
    with pytest.raises(UserError, match=r"from -1 to -1, .*; correct it$"):
        scaled_intensity(sweep_of([-1.0]), tanh, KITTI)
    odd = sweep_of([0.5], ("x", "y", "z", "time", "intensity"))
    np.testing.assert_allclose(input_features(odd, one, KITTI), [[1, 1, 1, 0.5]])
