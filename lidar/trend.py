"""TREND: encode the current sweep, roll the volume forward, render every frame's rays.

"TREND: Unsupervised 3D Representation Learning via Temporal Forecasting" (arXiv 2412.03054).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foretell.blocks.aaren import Aaren
from foretell.blocks.batch_norm import is_joint, num_processes
from foretell.blocks.cellwise import CellwiseMixer
from foretell.blocks.conv_gated import ConvGRU
from foretell.blocks.conv_recurrent import ConvRecurrence
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.protocol import detach_state
from foretell.model_folder import load_config, load_weights, save
from lidar.action_encoder import ActionEncoder
from lidar.config import FORMAT_VERSION, RecConfig, TrendConfig
from lidar.data.batch import WindowBatch
from lidar.encoders.build import build_encoder
from lidar.field import SceneFeatures
from lidar.geometry.se3 import actions_in_t0_axes
from lidar.geometry.voxel_grid import Stage, VoxelGrid, volume_centres, voxelise_mean
from lidar.objectives.occupancy import OccupancyAlongRay
from lidar.objectives.range_rendering import RangeRendering
from lidar.objectives.targets import RayTargets, RenderedRays
from lidar.rendering.lattice import Lattice
from lidar.sparse.tensor import SparseTensor

MAMBA_HEAD_DIM, MAMBA_STATE_DIM = 16, 16
"""Sizes of `rec.cell` mamba2; a state of 16 numbers for each channel of every cell."""
AAREN_HEADS = 4
"""Heads of `rec.cell` aaren."""


@dataclass(frozen=True)
class LossReport:
    """Loss of one batch."""

    total: Float[Tensor, ""]
    """What is minimised."""
    terms: dict[str, Tensor]
    """Scalars to log: `loss`, unweighted terms per frame (t0_, tm_), z, counts."""


class Trend(nn.Module):
    """Encoder, recurrent embedding and decoder (TREND eq. 1-3).

    Args:
        config: The whole model.
    """

    def __init__(self, config: TrendConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = VoxelGrid(config.point_range, config.voxel_size)
        channels, lattice = self._stage(config.volume.source)
        self.encoder = build_encoder(config.encoder, len(config.features))
        if config.ablation.recurrent:
            self.action_encoder = ActionEncoder(
                config.rec.f_act,
                code=config.rec.action_enc,
                gap_time=needs_gap_time(config),
                time_scale=config.field.time_scale,
            )
            self.recurrence = build_recurrence(
                config.rec, channels, num_steps=max(1, len(config.horizons_s))
            )
        time = config.field.time and config.ablation.level == "full"
        self.decoder: OccupancyAlongRay | RangeRendering
        if config.decoder.type == "occupancy":
            self.decoder = OccupancyAlongRay(config, channels, lattice=lattice, time=time)
        else:
            detail = [self._stage(name) for name in config.field.detail]
            self.decoder = RangeRendering(
                config, channels, lattice=lattice, time=time, detail=detail
            )

    def _stage(self, name: Stage) -> tuple[int, Lattice]:
        """Channels of an encoder stage and where its cells sit."""
        config = self.config
        encoder = config.encoder
        widths = {"conv_out": encoder.out_channels}
        widths |= {f"x_conv{i}": width for i, width in enumerate(encoder.channels, start=1)}
        centre_m, step_m, shape_dhw = volume_centres(self.grid, name)
        lattice = Lattice.build(
            config.field.grid,
            config.point_range,
            centre_m=centre_m,
            step_m=step_m,
            shape_dhw=shape_dhw,
        )
        return widths[name], lattice

    def encode(
        self,
        points: Float[Tensor, "points features"],
        point_batch: Int[Tensor, " points"],
        batch_size: int,
    ) -> SceneFeatures:
        """Eq. 1: the dense feature volume of the current sweep, and the stages of `field.detail`.

        Args:
            points: Columns `config.features`, t0 sensor frame.
            point_batch: Sample of each point.
            batch_size: Number of samples; an empty cloud gives a volume of zeros.
        """
        coords, feats = voxelise_mean(points, point_batch, self.grid)
        voxels = SparseTensor(coords, feats, self.grid.sparse_shape_zyx, batch_size)
        source = self.config.volume.source
        stages = self.encoder(voxels, until=source)
        detail = tuple(getattr(stages, name) for name in self.config.field.detail)
        return SceneFeatures(getattr(stages, source).dense(), detail)

    def roll_out(
        self,
        scene: SceneFeatures,
        action: Float[Tensor, "batch horizons 3"],
        gap_s: Float[Tensor, "batch horizons"],
    ) -> list[SceneFeatures]:
        """Eq. 2: one latent step per horizon.

        Args:
            scene: Features at t0.
            action: What the recurrence is told: dx, dy, dtheta of each step in the axes of
                `rec.action_frame`; `rec.action` zero hides it.
            gap_s: Seconds of each step.

        Returns:
            horizons + 1 volumes; the first is the input itself, and all share its detail.

        Raises:
            ValueError: If the model has no recurrence and a step is asked.
        """
        scenes = [scene]
        if action.shape[1] == 0:
            return scenes
        level = self.config.ablation.level
        if not self.config.ablation.recurrent:
            raise ValueError(f"ablation.level {level} has no recurrence: decode frame 0 alone")
        if self.config.rec.action == "zero":
            action = torch.zeros_like(action)
        codes = self.action_encoder(action.to(gap_s), gap_s)
        state: Any = self.recurrence.seed_state(scene.volume)
        for code in codes.unbind(1):
            if self.config.rec.detach_intermediate:
                state = detach_state(state)
            volume, state = self.recurrence.step(code, state)
            scenes.append(scene._replace(volume=volume))
        return scenes

    def frame_actions(
        self,
        action: Float[Tensor, "batch horizons 3"],
        t0_SE3_tn: Float[Tensor, "batch frames 4 4"],
    ) -> Float[Tensor, "batch horizons 3"]:
        """Actions in the axes this model was trained with (`rec.action_frame`)."""
        if self.config.rec.action_frame == "ego_tn":
            return action
        return torch.from_numpy(actions_in_t0_axes(t0_SE3_tn.cpu().numpy())).to(action)

    def losses(self, batch: WindowBatch) -> LossReport:
        """L = sum over the supervised frames (t0 and one t_m) of the decoder's loss.

        Args:
            batch: Windows with rays and what they measured.
        """
        scene = self.encode(batch.points, batch.point_batch, batch.batch_size)
        steps = int(batch.frame_index.max())
        # Norms of the joint batch see every window roll as far as the one that rolls farthest.
        joint = self.config.ablation.recurrent and is_joint(self.recurrence)
        if joint:
            steps = most_over_processes(steps, batch.points.device)
        gap_s = batch.t_s.diff(dim=1)[:, :steps]
        scenes = self.roll_out(scene, batch.action[:, :steps], gap_s)
        slots = [RayTargets.of_slot(batch, slot) for slot in range(batch.frame_index.shape[1])]
        denominators = over_processes(torch.stack([self.decoder.counts(rays) for rays in slots]))
        total = batch.ray_r.new_zeros(())
        if joint:  # Zero, and backward passes through every norm although nothing is rendered.
            total = total + sum(scene.volume[..., :0].sum() for scene in scenes)
        terms: dict[str, Tensor] = {}
        for slot, rays in enumerate(slots):
            chosen = pick_frames(scenes, rays.frame) if rays.frame.any() else scenes[0]
            report = self.decoder.frame_loss(chosen, rays, denominators[slot])
            total = total + report.total
            part = "t0" if slot == 0 else "tm" if slot == 1 else f"tm{slot}"
            terms |= {f"{part}_{name}": value for name, value in report.terms.items()}
        terms["loss"] = total.detach()
        terms["valid_rays"] = batch.ray_valid.sum().to(total.dtype)
        terms["frames_without_ray"] = (~batch.ray_valid.any(-1)).sum().to(total.dtype)
        if isinstance(self.decoder, RangeRendering):
            terms["inv_s"] = self.decoder.inv_s.detach()
        return LossReport(total, terms)

    def render(
        self,
        scene: SceneFeatures,
        t_s: Float[Tensor, " batch"],
        ray_o: Float[Tensor, "batch rays 3"],
        ray_d: Float[Tensor, "batch rays 3"],
        *,
        intensity: bool = False,
        field_time: bool = True,
        chunk: int = 0,
    ) -> RenderedRays:
        """Eq. 3: what given rays of one frame will measure; deterministic.

        Args:
            scene: Features of that frame, from `roll_out`.
            t_s: Seconds since t0.
            ray_o: Ray origins in the t0 frame, metres.
            ray_d: Unit directions.
            intensity: Also predict intensity.
            field_time: False hides the time, a test-time intervention.
            chunk: Rays at once; 0 = all.
        """
        return self.decoder.render(
            scene, t_s, ray_o, ray_d, intensity=intensity, field_time=field_time, chunk=chunk
        )

    def save_pretrained(self, directory: Path | str, *, card: str = "# TREND model\n") -> None:
        """Write config.json, model.safetensors and the card README.md."""
        save(self, self.config, directory, card, format_version=FORMAT_VERSION)

    @classmethod
    def from_pretrained(cls, directory: Path | str, *, partial: bool = False) -> "Trend":
        """Read a saved model, in evaluation mode.

        Raises:
            UserError: No model there, or weights that do not fit while `partial` is off.
        """
        model = cls(load_config(TrendConfig, directory, format_version=FORMAT_VERSION))
        load_weights(model, directory, partial=partial)
        return model.eval()


def build_recurrence(
    config: RecConfig, channels: int, *, num_steps: int
) -> ConvRecurrence | ConvGRU | CellwiseMixer:
    """The recurrence that a configuration names; `num_steps` are trained."""
    match config.cell:
        case "conv":
            return ConvRecurrence(
                channels,
                config.f_act[-1],
                layers=config.f3d,
                norm=config.norm,
                num_steps=num_steps,
                residual=config.residual,
            )
        case "conv_gru":
            return ConvGRU(channels, config.f_act[-1])
        case "mamba2":
            width = math.gcd(channels, MAMBA_HEAD_DIM)
            mixer = Mamba2(channels, MAMBA_STATE_DIM, expand=1, head_dim=width)
            return CellwiseMixer(mixer, config.f_act[-1])
        case "aaren":
            heads = math.gcd(channels, AAREN_HEADS)
            return CellwiseMixer(Aaren(channels, heads), config.f_act[-1])


def needs_gap_time(config: TrendConfig) -> bool:
    """Whether the gap is appended to the action: auto = only when the configured gaps differ."""
    if config.rec.gap_time != "auto":
        return config.rec.gap_time == "on"
    times = [0.0, *config.horizons_s]
    gaps = [b - a for a, b in zip(times[:-1], times[1:], strict=True)]
    return max(gaps, default=0.0) - min(gaps, default=0.0) > 1e-6


def pick_frames(scenes: list[SceneFeatures], frame: Int[Tensor, " batch"]) -> SceneFeatures:
    """The volume of each sample's own frame."""
    volumes = [scenes[n].volume[b] for b, n in enumerate(frame.tolist())]
    return scenes[0]._replace(volume=torch.stack(volumes))


def over_processes(
    counts: Float[Tensor, "supervised terms"],
) -> Float[Tensor, "supervised terms"]:
    """Sum denominators over all processes, in the unit of one.

    Distributed training averages gradients, so the sum is divided by the number of processes.
    """
    if num_processes() == 1:
        return counts
    total = counts.clone()
    torch.distributed.all_reduce(total)
    return total / num_processes()


def most_over_processes(count: int, device: torch.device) -> int:
    """The largest of the processes' counts."""
    most = torch.tensor(count, device=device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return int(most)
