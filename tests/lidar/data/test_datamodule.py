"""Batches: order, resumption and several processes."""

import dataclasses

import numpy as np
import pytest
import torch

from foretell.errors import UserError
from foretell.loader import EpochSampler
from lidar.config import CurriculumConfig, DataConfig, PretrainConfig, RaysConfig
from lidar.data.datamodule import PretrainDataModule


@pytest.fixture
def config(tmp_path, write_kitti):
    write_kitti(tmp_path, 24)
    return PretrainConfig(
        data=DataConfig(
            kind="kitti", root=str(tmp_path), frame_gap_s=0.2, num_sweeps=2, batch_size=2,
            point_range=[-25.6, -25.6, -5.0, 25.6, 25.6, 3.0], voxel_size=[0.2, 0.2, 0.2],
            splits=["all[0%:75%]"], val_splits=["all[75%:100%]"],
        ),
        rays=RaysConfig(n=32),
        curriculum=CurriculumConfig(stages=[[1, 1], [2, 2]]),
    )  # fmt: skip


def names(loader):
    return [batch.names for batch in loader]


def test_batches_of_training_and_validation(config):
    module = PretrainDataModule(config)
    module.prepare_data()
    module.setup("fit")
    assert module.feature_columns == ["x", "y", "z", "intensity", "dt"]
    assert (len(module.train), len(module.val)) == (14, 2)
    batches = list(module.train_dataloader())
    assert len(batches) == 7 and batches[0].batch_size == 2
    assert batches[0].ray_o.shape == (2, 2, 32, 3) and batches[0].action.shape == (2, 2, 3)
    assert sorted(n for batch in batches for n in batch.names) == [f"00/{i:06d}" for i in range(14)]
    assert names(module.val_dataloader()) == [("00/000018", "00/000019")]
    without = dataclasses.replace(config, data=dataclasses.replace(config.data, val_splits=[]))
    module = PretrainDataModule(without)
    module.setup("fit")
    assert module.val_dataloader() == []


def test_workers_change_no_sample(config):
    module = PretrainDataModule(config, seed=3)
    module.setup("fit")
    single = names(module.train_dataloader())
    data = dataclasses.replace(config.data, num_workers=1)
    parallel = PretrainDataModule(dataclasses.replace(config, data=data), seed=3)
    parallel.setup("fit")
    batches = list(parallel.train_dataloader())
    assert [batch.names for batch in batches] == single
    index = int(single[0][0].split("/")[1])
    expected = torch.from_numpy(module.train[(0, index)].ray_r)
    torch.testing.assert_close(batches[0].ray_r[0], expected)


def test_two_processes_see_together_what_one_sees(config):
    """T23, data part: the rows of both ranks are those of the joint batch of one process."""
    module = PretrainDataModule(config)
    module.setup("fit")
    joint = EpochSampler(len(module.train), 4, seed=1)
    ranks = [EpochSampler(len(module.train), 2, seed=1, rank=r, world_size=2) for r in (0, 1)]
    keys, joint_keys = [list(sampler) for sampler in ranks], list(joint)
    for step in range(joint.num_batches):
        parts = [key for part in keys for key in part[2 * step : 2 * step + 2]]
        assert sorted(parts) == sorted(joint_keys[4 * step : 4 * step + 4])


def test_epochs_reshuffle_and_redraw(config):
    module = PretrainDataModule(config)
    module.setup("fit")
    loader = module.train_dataloader()
    first = next(iter(loader))
    loader.epoch_sampler.set_epoch(1)
    assert names(loader)[0] != first.names


def test_errors_come_before_training(config):
    data = dataclasses.replace(config.data, voxel_size=[0.3, 0.2, 0.2])
    with pytest.raises(UserError, match="does not divide"):
        PretrainDataModule(dataclasses.replace(config, data=data)).setup("fit")
    data = dataclasses.replace(config.data, splits=["00[0:2]"])
    with pytest.raises(UserError, match="no forecasting window"):
        PretrainDataModule(dataclasses.replace(config, data=data)).setup("fit")
    data = dataclasses.replace(config.data, splits=["trian"])
    with pytest.raises(UserError, match="did you mean 'train'"):
        PretrainDataModule(dataclasses.replace(config, data=data)).setup("fit")


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_met_by_a_worker_is_told_in_one_line(config, tmp_path, workers):
    for path in (tmp_path / "sequences" / "00" / "velodyne").glob("00001*.bin"):
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        points[3, 1] = np.nan
        points.tofile(path)
    data = dataclasses.replace(config.data, num_workers=workers)
    module = PretrainDataModule(dataclasses.replace(config, data=data))
    module.setup("fit")
    with pytest.raises(
        UserError, match=r"^the sweep \S+\.bin has 1 point\(s\) .* row 3; drop .* saving it$"
    ):
        list(module.train_dataloader())


@pytest.mark.parametrize(
    ("data", "rays", "filters"),
    [
        ({"point_range": [-25.6, -25.6, 10.0, 25.6, 25.6, 14.0]}, {}, "input_inside, t0_inside"),
        ({}, {"z_thd": 99.0}, "t0_ground, tm_ground;"),
    ],
)
def test_settings_that_leave_nothing_to_train_on(config, data, rays, filters):
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **data),
        rays=dataclasses.replace(config.rays, **rays),
    )
    with pytest.raises(UserError, match=f"no return of .* none passes {filters}.*point_range"):
        PretrainDataModule(config).setup("fit")
