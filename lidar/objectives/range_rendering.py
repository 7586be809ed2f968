"""TREND's decoder: render ranges through a signed distance field (sections 3.3-3.4, eq. 6-12)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lidar.config import SHARPNESS_RANGE, TrendConfig
from lidar.field import FieldVolume, SceneFeatures, TemporalField
from lidar.geometry.rays import SearchInterval, search_interval
from lidar.objectives.targets import FrameLoss, RayTargets, RenderedRays
from lidar.precision import full_precision
from lidar.rendering import losses
from lidar.rendering.chunked import chunked_sum
from lidar.rendering.lattice import Lattice
from lidar.rendering.march import Jitter, draw_jitter, march, march_naive
from lidar.rendering.volume import expected_range, interval_range, interval_weights

EIKONAL_STEP_M = 0.1
"""Finite difference of the eikonal term."""


class RangeRendering(nn.Module):
    """Field, sharpness z = exp(10 v), rendering and losses.

    Args:
        config: Field, rendering, losses and the volume box.
        in_channels: Channels of the volume.
        lattice: Where its cells sit.
        time: Feed time to the field.
        detail: Channels and lattice of every finer stage (`field.detail`).
    """

    def __init__(
        self,
        config: TrendConfig,
        in_channels: int,
        *,
        lattice: Lattice,
        time: bool,
        detail: Sequence[tuple[int, Lattice]] = (),
    ) -> None:
        super().__init__()
        self.render_config = config.render
        self.loss_config = config.loss
        self.point_range = config.point_range
        scale_m = max(map(abs, config.point_range)) if config.field.normalize_scene else 1.0
        self.field = TemporalField(
            config.field, in_channels, lattice=lattice, scale_m=scale_m, time=time, detail=detail
        )
        self.log_sharpness = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """z = `render.inv_s_init`; the field's own initialisation."""
        self.field.reset_parameters()
        nn.init.constant_(self.log_sharpness, math.log(self.render_config.inv_s_init) / 10)

    @property
    def inv_s(self) -> Float[Tensor, ""]:
        """Sharpness z, clamped."""
        return (10 * self.log_sharpness).exp().clamp(*SHARPNESS_RANGE)

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
        """Ranges along given rays, deterministic; a ray beside the volume gets its far end.

        Args:
            scene: Features of the frame.
            t_s: Seconds since t0.
            ray_o: Origins in the t0 frame, metres.
            ray_d: Unit directions.
            intensity: Also the intensity at the rendered point.
            field_time: False hides the time.
            chunk: Rays at once; 0 = all.
        """
        prepared = self.field.prepare(scene, t_s, time=field_time)
        size = chunk or max(1, ray_o.shape[1])
        parts = [
            self._render_part(
                prepared, ray_o[:, i : i + size], ray_d[:, i : i + size], intensity=intensity
            )
            for i in range(0, max(1, ray_o.shape[1]), size)
        ]
        if len(parts) == 1:
            return parts[0]
        return RenderedRays(
            torch.cat([part.range_m for part in parts], dim=1),
            torch.cat([part.sum_w for part in parts], dim=1),
            torch.cat([p.intensity for p in parts if p.intensity is not None], dim=1)
            if intensity
            else None,
            torch.cat([part.hits_volume for part in parts], dim=1),
        )

    def counts(self, targets: RayTargets) -> Float[Tensor, " terms"]:
        """Denominators of one frame: rays that count, and those among them with intensity."""
        *_, hits = self._bounds(targets.ray_o, targets.ray_d)
        valid = targets.valid & hits
        counts = torch.stack([valid.sum(), (valid & ~targets.intensity.isnan()).sum()])
        return counts.to(targets.range_m.dtype)

    def frame_loss(
        self,
        scene: SceneFeatures,
        targets: RayTargets,
        denominators: Float[Tensor, " terms"],
    ) -> FrameLoss:
        """Loss of one frame, in chunks when `render.chunk` asks for it.

        Args:
            scene: Features of the frame.
            targets: Measured rays.
            denominators: `counts`, over all processes.
        """
        batch, num_rays = targets.valid.shape
        near, far, hits = self._bounds(targets.ray_o, targets.ray_d)
        targets = targets._replace(valid=targets.valid & hits)
        measured = torch.where(targets.valid, targets.range_m, near)
        points = targets.ray_o + measured[..., None] * targets.ray_d
        prepared = self.field.prepare(scene, targets.t_s, points_m=points)
        jitter = None
        if self.training:
            jitter = draw_jitter(
                targets.seed, targets.frame, num_rays, self.render_config, targets.ray_o
            )

        def part_loss(
            part: slice, cells: Tensor, at_hits: Tensor, *detail: Tensor
        ) -> tuple[Tensor, Tensor]:
            # The fast field asks the projected table, the literal one the volume itself.
            known = "table" if self.field.fast else "volume"
            stages = zip(prepared.detail, detail, strict=True)
            return self._part_loss(
                prepared._replace(
                    **{known: cells},
                    detail=tuple(stage.with_feats(feats) for stage, feats in stages),
                ),
                at_hits[:, part],
                targets._replace(
                    ray_o=targets.ray_o[:, part],
                    ray_d=targets.ray_d[:, part],
                    range_m=measured[:, part],
                    intensity=targets.intensity[:, part],
                    valid=targets.valid[:, part],
                ),
                near[:, part],
                far[:, part],
                None if jitter is None else jitter.rays(part),
                denominators,
            )

        def recomputed(part: slice, *inputs: Tensor) -> tuple[Tensor, Tensor]:
            result: tuple[Tensor, Tensor] = checkpoint(
                part_loss, part, *inputs, use_reentrant=False
            )
            return result

        total, figures = chunked_sum(
            recomputed if self.render_config.checkpoint else part_loss,
            num_rays,
            -(-self.render_config.chunk // max(1, batch)),
            inputs=[
                prepared.table if self.field.fast else prepared.volume,
                prepared.at_points,
                *(stage.feats for stage in prepared.detail),
            ],
            parameters=list(self.parameters()),
        )
        names = ("range_l1", "surface_l1", "intensity_l1", "eikonal", "free_space",
                 "line_of_sight", "sum_w")  # fmt: skip
        return FrameLoss(total, dict(zip(names, figures.unbind(), strict=True)))

    def _part_loss(
        self,
        prepared: FieldVolume,
        at_hits: Float[Tensor, "batch rays channels"],
        targets: RayTargets,
        near: Float[Tensor, "batch rays"],
        far: Float[Tensor, "batch rays"],
        jitter: Jitter | None,
        denominators: Float[Tensor, " terms"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " figures"]]:
        """Loss of a part of the rays, and its terms."""
        config, field, valid = self.loss_config, self.field, targets.valid

        def query(ranges_m: Tensor) -> tuple[Tensor, Tensor]:
            return field.query(prepared, targets.ray_o, targets.ray_d, ranges_m)

        sample = march if field.fast else march_naive
        samples = sample(
            query, near, far, self.render_config, jitter=jitter, extra_m=targets.range_m[..., None]
        )
        intensity = field.intensity(targets.ray_d, samples.extra_geometry[..., 0, :], at_hits)
        with full_precision(samples.sdf):
            weights, at_m = self._weights(samples.sdf, samples.ranges_m)
            range_m, sum_w = expected_range(
                weights, at_m, normalize=self.render_config.normalize_weights
            )
            count, count_intensity = denominators.unbind()
            unit = 1.0 if config.unit == "metres" else field.scale_m
            hit_sdf_m = samples.extra_sdf[..., 0] * field.scale_m
            zero = range_m.new_zeros(())
            measured = valid & ~targets.intensity.isnan()
            terms = [
                losses.masked_l1(range_m, targets.range_m, valid, count),
                losses.masked_l1(hit_sdf_m, zero.expand_as(hit_sdf_m), valid, count),
                losses.masked_l1(intensity, targets.intensity, measured, count_intensity),
                self._eikonal(prepared, targets, count) if config.eikonal else zero,
                losses.free_space(
                    samples.sdf * field.scale_m, samples.ranges_m, targets.range_m, valid, count
                )
                if config.free_space
                else zero,
                losses.line_of_sight(weights, at_m, targets.range_m, valid, count)
                if config.line_of_sight
                else zero,
            ]
            factors = [
                config.weights[0] / unit,
                config.weights[1] / unit * config.surface,
                config.weights[2] * config.intensity,
                config.eikonal,
                config.free_space / unit,
                config.line_of_sight,
            ]
            total = zero
            for factor, term in zip(factors, terms, strict=True):
                if factor:
                    total = total + factor * term
            mean_sum_w = losses.masked_l1(sum_w, torch.zeros_like(sum_w), valid, count)
        return total, torch.stack([*terms, mean_sum_w]).detach()

    def _eikonal(
        self, prepared: FieldVolume, targets: RayTargets, count: Tensor
    ) -> Float[Tensor, ""]:
        """Eikonal term at the hit and half way to it, mean of both."""
        step = torch.eye(3).to(targets.ray_o) * EIKONAL_STEP_M
        origins = targets.ray_o[:, :, None] + torch.cat([step, -step])
        batch, rays = targets.valid.shape
        directions = targets.ray_d[:, :, None].expand_as(origins)
        ranges = torch.stack([targets.range_m, targets.range_m / 2], dim=-1)
        sdf, _ = self.field.query(
            prepared,
            origins.reshape(batch, rays * 6, 3),
            directions.reshape(batch, rays * 6, 3),
            ranges[:, :, None].expand(-1, -1, 6, -1).reshape(batch, rays * 6, 2),
        )
        plus, minus = sdf.view(batch, rays, 6, 2).transpose(2, 3).split(3, dim=-1)
        both = targets.valid[..., None].expand(-1, -1, 2)
        return losses.eikonal(plus, minus, EIKONAL_STEP_M / self.field.scale_m, both, 2 * count)

    def _render_part(
        self, prepared: FieldVolume, ray_o: Tensor, ray_d: Tensor, *, intensity: bool
    ) -> RenderedRays:
        near, far, hits = self._bounds(ray_o, ray_d)

        def query(ranges_m: Tensor) -> tuple[Tensor, Tensor]:
            return self.field.query(prepared, ray_o, ray_d, ranges_m)

        sample = march if self.field.fast else march_naive
        samples = sample(query, near, far, self.render_config)
        with full_precision(samples.sdf):
            weights, at_m = self._weights(samples.sdf, samples.ranges_m)
            range_m, sum_w = expected_range(
                weights, at_m, normalize=self.render_config.normalize_weights
            )
            range_m = torch.where(hits, range_m, far)
        brightness = None
        if intensity:
            _, geometry = query(range_m[..., None])
            features = self.field.features_at(prepared, ray_o + range_m[..., None] * ray_d)
            brightness = self.field.intensity(ray_d, geometry[:, :, 0], features)
        return RenderedRays(range_m, sum_w, brightness, hits)

    def _weights(self, sdf: Tensor, ranges_m: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and the range of each."""
        config = self.render_config
        weights = interval_weights(
            sdf, self.inv_s.to(sdf.dtype), form=config.alpha, last_alpha=config.last_alpha
        )
        at_m = interval_range(ranges_m, depth_at=config.depth_at, last_alpha=config.last_alpha)
        return weights, at_m

    def _bounds(
        self, ray_o: Float[Tensor, "batch rays 3"], ray_d: Float[Tensor, "batch rays 3"]
    ) -> SearchInterval:
        config = self.render_config
        return search_interval(ray_o, ray_d, self.point_range, near_m=config.near, far_m=config.far)
