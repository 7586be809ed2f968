"""Training samples: load a window, augment, mask the input, choose rays of t0 and of one future."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray
from torch.utils.data import Dataset

from foretell.errors import UserError
from lidar.config import PretrainConfig, num_epochs, trained_horizon
from lidar.data.augment import augment_poses, draw_transform
from lidar.data.draws import ACTION, AUGMENT, HORIZON, MASK, RAYS, RENDER, SampleKey
from lidar.data.features import input_features, scaled_intensity
from lidar.data.masking import VoxelMask, mask_points
from lidar.data.ray_selection import RayTargets, outside_ego_box, select_rays
from lidar.data.structures import SensorSpec, TrainingWindow
from lidar.data.windows import Window
from lidar.geometry.range_view import AngularBins
from lidar.geometry.ray_cast import cast_rays
from lidar.geometry.se3 import (
    actions_in_t0_axes,
    invert,
    planar_action,
    se3,
    transform_points,
)
from lidar.geometry.voxel_grid import VoxelGrid

MONITOR_BINS = AngularBins(0.5, 0.5)
"""Bins of the copy-last error that is logged beside the training loss."""


class WindowDataset(Dataset[TrainingWindow]):
    """Forecasting samples of a list of windows; their boxes are out of reach.

    Items are asked for by index (then the epoch of `set_epoch` counts) or by `(epoch, index)`.

    Args:
        windows: From `find_windows`, all with the same number of horizons.
        config: The parts data, mask, rays, curriculum, aug, rec and ablation are used.
        training: Draws follow the epoch's curriculum stage and augmentation. Otherwise every epoch
            sees the draws of epoch 0 of the last stage without augmentation, so that losses of
            different epochs compare.
        seed: Of all draws.
    """

    def __init__(
        self, windows: Sequence[Window], config: PretrainConfig, *, training: bool, seed: int = 0
    ) -> None:
        if not windows:
            raise ValueError("WindowDataset needs at least one window")
        self.windows = [replace(w, log=w.log.without_labels()) for w in windows]
        self.config, self.training, self.seed = config, training, seed
        self.epoch = 0
        self.sensor: SensorSpec = windows[0].log.sensor
        self.grid = voxel_grid(config)
        if config.rec.action == "shuffled" and len(windows) < 2:
            raise UserError(
                "rec.action shuffled takes the action of another window, but there is one window "
                "alone: add logs to data.splits and data.val_splits"
            )

    def __len__(self) -> int:
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Epoch of samples that are asked for by index alone."""
        self.epoch = epoch

    def __getitem__(self, key: int | tuple[int, int]) -> TrainingWindow:
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        window = self.windows[index]
        sample = SampleKey(self.seed, epoch if self.training else 0, index)
        config = self.config

        true_poses = poses_in_t0(window)
        transform = np.eye(3)
        if self.training:
            transform = draw_transform(config.aug, sample.generator(AUGMENT))
        poses = augment_poses(transform, true_poses)

        points, mask, kept = self._input(window, transform, sample)
        supervised = [0, *self._future(epoch, sample, len(window.frames))]
        rays = []
        for n in supervised:
            rays.append(self._rays(window, n, true_poses[n], transform, mask, sample))
            kept.update({f"{'t0' if n == 0 else 'tm'}_{k}": v for k, v in rays[-1].kept.items()})
        return TrainingWindow(
            points=points,
            t_s=seconds_after_t0(window),
            t0_SE3_tn=poses,
            action=self._told_action(sample, transform, poses),
            frame_index=np.array(supervised, np.int64),
            ray_o=np.stack([r.origin for r in rays]),
            ray_d=np.stack([r.direction for r in rays]),
            ray_r=np.stack([r.range_m for r in rays]),
            ray_i=np.stack([r.intensity for r in rays]),
            ray_valid=np.stack([r.valid for r in rays]),
            seed=sample.integer(RENDER),
            kept=kept,
            copy_last_l1_m=self._copy_last_l1_m(window, rays[-1], poses[supervised[-1]], transform),
            name=window.name,
        )

    def _told_action(
        self,
        sample: SampleKey,
        transform: Float64[ndarray, "3 3"],
        poses: Float64[ndarray, "frames 4 4"],
    ) -> Float32[ndarray, "horizons 3"]:
        """The window's own action or, with `rec.action` shuffled, that of another one."""
        if self.config.rec.action == "shuffled":
            step = sample.generator(ACTION).integers(1, len(self.windows))
            other = self.windows[(sample.index + int(step)) % len(self.windows)]
            poses = augment_poses(transform, poses_in_t0(other))
        if self.config.rec.action_frame == "ego_tn":
            return actions_between(poses, self.sensor)
        return actions_in_t0_axes(poses).astype(np.float32)

    def _input(
        self, window: Window, transform: Float64[ndarray, "3 3"], sample: SampleKey
    ) -> tuple[Float32[ndarray, "points features"], VoxelMask, dict[str, float]]:
        features = window_input(window, self.config)
        if self.training:
            features[:, :3] = features[:, :3] @ transform.T.astype(np.float32)
        points = torch.from_numpy(features)
        generator = torch.Generator().manual_seed(sample.integer(MASK))
        masked = mask_points(points, self.grid, self.config.mask, generator)
        num_inside, num_seen = int(masked.inside.sum()), int(masked.seen.sum())
        kept = {
            "input_inside": num_inside / len(points) if len(points) else 1.0,
            "input_unmasked": num_seen / num_inside if num_inside else 1.0,
        }
        return features[masked.seen.numpy()], masked.mask, kept

    def _copy_last_l1_m(
        self,
        window: Window,
        rays: RayTargets,
        t0_SE3_tn: Float64[ndarray, "4 4"],
        transform: Float64[ndarray, "3 3"],
    ) -> float:
        """Error of a z-buffer of the t0 sweep on chosen rays, watched beside the loss."""
        known = self._seen_at_t0(window) @ transform.T
        if not rays.valid.any() or not len(known):
            return float("nan")
        (cast,) = cast_rays(
            known,
            rays.origin[rays.valid][0],
            rays.direction[rays.valid],
            [MONITOR_BINS],
            axes=t0_SE3_tn[:3, :3].T,
        )
        return float(np.abs(cast - rays.range_m[rays.valid]).mean())

    def _future(self, epoch: int, sample: SampleKey, num_horizons: int) -> list[int]:
        """The future frame m of this sample, or none: p(m) proportional to p^(m-1), eq. 13."""
        curriculum = self.config.curriculum
        if not self.config.ablation.recurrent:
            return []
        stage_of = epoch if self.training else num_epochs(curriculum)
        furthest = trained_horizon(curriculum, stage_of, num_horizons)
        if furthest < 1:
            return []
        weights = curriculum.p ** np.arange(furthest)
        drawn = sample.generator(HORIZON).choice(furthest, p=weights / weights.sum())
        return [1 + int(drawn)]

    def _rays(
        self,
        window: Window,
        n: int,
        t0_SE3_tn: Float64[ndarray, "4 4"],
        transform: Float64[ndarray, "3 3"],
        mask: VoxelMask,
        sample: SampleKey,
    ) -> RayTargets:
        frame = window.all_frames[n]
        sweep = window.log.sweep(frame)
        xyz = np.ascontiguousarray(sweep.points[:, :3])
        return select_rays(
            xyz,
            scaled_intensity(sweep, self.config.data, self.sensor),
            t0_SE3_tn,
            up=window.log.up(frame),
            sensor=self.sensor,
            config=self.config.rays,
            point_range=self.config.data.point_range,
            rng=sample.generator(RAYS, n),
            augmentation=transform,
            mask=mask,
            weights=self._surprise_weights(window, xyz, t0_SE3_tn) if n else None,
        )

    def _surprise_weights(
        self,
        window: Window,
        xyz: Float32[ndarray, "points 3"],
        t0_SE3_tn: Float64[ndarray, "4 4"],
    ) -> Float64[ndarray, " points"] | None:
        """`rays.surprise_weight` where a z-buffer of the t0 sweep misses a return, else 1."""
        config = self.config.rays
        if config.surprise_weight == 1:
            return None
        tn_SE3_t0 = invert(t0_SE3_tn)
        known = transform_points(tn_SE3_t0, self._seen_at_t0(window))
        measured = np.linalg.norm(xyz, axis=1)
        weights = np.ones(len(xyz))
        rays = measured > 1e-3
        if len(known) and rays.any():
            direction = xyz[rays] / measured[rays, None]
            (cast,) = cast_rays(known, np.zeros(3), direction, [MONITOR_BINS])
            surprising = np.abs(cast - measured[rays]) > config.surprise_m
            weights[rays] = np.where(surprising, config.surprise_weight, 1.0)
        return weights

    def _seen_at_t0(self, window: Window) -> Float32[ndarray, "points 3"]:
        """Returns of the t0 sweep without the own car's, which would stand on the road later."""
        seen, config = window.log.sweep(window.t0).points[:, :3], self.config.rays
        foreign = np.linalg.norm(seen, axis=1) >= max(config.min_range, 1e-3)
        foreign &= outside_ego_box(seen, self.sensor, config)
        kept: Float32[ndarray, "points 3"] = seen[foreign]
        return kept


def check_supervision(dataset: WindowDataset) -> None:
    """Refuse settings under which no return is left to train on.

    Raises:
        UserError: Three evenly spaced samples have no input or no ray; names the filters.
    """
    count = min(3, len(dataset))
    names, emptied = [], set()
    for n in range(count):
        sample = dataset[(0, n * len(dataset) // count)]
        if sample.kept["input_inside"] > 0 and sample.ray_valid.any():
            return
        names.append(sample.name)
        emptied |= {name for name, share in sample.kept.items() if share == 0}
    filters = ", ".join(sorted(name for name in emptied if not name.endswith("_filled")))
    raise UserError(
        f"no return of the windows {', '.join(names)} is left to train on: none passes {filters}; "
        f"correct data.point_range (now {dataset.config.data.point_range}) or rays"
    )


def window_input(window: Window, config: PretrainConfig) -> Float32[ndarray, "points features"]:
    """Unmasked encoder input of a window in the t0 frame."""
    data = config.data
    sweep = window.log.accumulated(
        window.t0, data.num_sweeps, data.sweep_stride, earliest=window.earliest
    )
    return input_features(sweep, data, window.log.sensor)


def seconds_after_t0(window: Window) -> Float32[ndarray, " frames"]:
    """Measured times of t0 and the horizons."""
    times = window.log.timestamps_ns[list(window.all_frames)]
    seconds: Float32[ndarray, " frames"] = ((times - times[0]) * 1e-9).astype(np.float32)
    return seconds


def poses_in_t0(window: Window) -> Float64[ndarray, "frames 4 4"]:
    """t0_SE3_tn of the sensor, for t0 and the horizons."""
    poses = window.log.global_SE3_lidar[list(window.all_frames)]
    relative: Float64[ndarray, "frames 4 4"] = invert(poses[0]) @ poses
    return relative


def actions_between(
    t0_SE3_tn: Float64[ndarray, "frames 4 4"], sensor: SensorSpec
) -> Float32[ndarray, "horizons 3"]:
    """Planar motion dx forward, dy left, dtheta from each frame to the next, in t_n's axes.

    Args:
        t0_SE3_tn: Sensor poses in the t0 frame, in the axes of the points.
        sensor: Gives those axes.
    """
    tn_SE3_tn1 = invert(t0_SE3_tn[:-1]) @ t0_SE3_tn[1:]
    flu_SE3_lidar = se3(sensor.flu_R_lidar, np.zeros(3))
    actions = planar_action(flu_SE3_lidar @ tn_SE3_tn1 @ invert(flu_SE3_lidar))
    return actions.astype(np.float32)


def voxel_grid(config: PretrainConfig) -> VoxelGrid:
    """The encoder's grid.

    Raises:
        UserError: The voxel size does not divide the range.
    """
    try:
        return VoxelGrid(config.data.point_range, config.data.voxel_size)
    except ValueError as error:
        raise UserError(f"data.voxel_size, data.point_range: {error}") from None
