"""ALSO-style decoder: occupied or free along the ray (ALSO, CVPR 2023; TREND section 9).

Per scanned point p with ray direction d and u ~ U(0, 1): occupied query p + delta u d, free query
p - delta u d, free query uniform between sensor and p. Binary cross-entropy + L1 intensity, 1:1.
It reads the same trilinear f_p as the range decoder, so only the decoder differs.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.mlp import mlp
from lidar.config import TrendConfig
from lidar.field import SceneFeatures, time_code
from lidar.geometry.rays import search_interval
from lidar.objectives.targets import FrameLoss, RayTargets, RenderedRays
from lidar.precision import at_least_float32, full_precision
from lidar.rendering.interpolation import cell_rows, corner_rows, gather_corners
from lidar.rendering.lattice import Lattice
from lidar.rendering.samplers import stratified
from lidar.rendering.volume import transmittance


class OccupancyAlongRay(nn.Module):
    """Occupancy and intensity of points from [p, f_t, f_p].

    Args:
        config: Decoder, field (time, padding, scale) and the volume box.
        in_channels: Channels of the volume.
        lattice: Where its cells sit.
        time: Feed time.
    """

    def __init__(
        self, config: TrendConfig, in_channels: int, *, lattice: Lattice, time: bool
    ) -> None:
        super().__init__()
        self.config = config
        self.lattice = lattice
        self.scale_m = max(map(abs, config.point_range)) if config.field.normalize_scene else 1.0
        self.time_dim = config.field.time_dim if time else 0
        widths = [3 + self.time_dim + in_channels, *config.decoder.occupancy_widths]
        self.trunk = mlp(widths, last_activation=True)
        self.head = nn.Linear(widths[-1], 2)

    def counts(self, targets: RayTargets) -> Float[Tensor, " terms"]:
        """Denominators of one frame: queries, and occupied queries with intensity."""
        ray, chosen = self._choose_rays(targets)
        measured = chosen & ~targets.intensity.gather(1, ray).isnan()
        return torch.stack([3 * chosen.sum(), measured.sum()]).to(targets.range_m.dtype)

    def frame_loss(
        self,
        scene: SceneFeatures,
        targets: RayTargets,
        denominators: Float[Tensor, " terms"],
    ) -> FrameLoss:
        """Cross-entropy of the queries and L1 of the intensity at the occupied ones.

        Args:
            scene: Features of the frame.
            targets: Measured rays.
            denominators: `counts`, over all processes.
        """
        ray, chosen = self._choose_rays(targets)
        u = keyed_uniform(targets, 2 * ray.shape[1], salt=1).split(ray.shape[1], dim=1)
        range_m = torch.where(chosen, targets.range_m.gather(1, ray), 0)
        delta = self.config.decoder.occupancy_delta_m
        query_m = torch.stack([range_m + delta * u[0], range_m - delta * u[0], range_m * u[1]], -1)
        ray_o, ray_d = (
            rays.gather(1, ray[..., None].expand(-1, -1, 3))
            for rays in (targets.ray_o, targets.ray_d)
        )
        logit, intensity = self._decode(
            scene.volume, time_code(targets.t_s, self.time_dim, self.config.field.time_scale),
            ray_o[:, :, None] + query_m[..., None] * ray_d[:, :, None],
        )  # fmt: skip
        with full_precision(logit):
            label = torch.zeros_like(logit)
            label[..., 0] = 1
            entropy = functional.binary_cross_entropy_with_logits(
                logit, label, reduction="none"
            ).sum(-1)
            measured = targets.intensity.gather(1, ray)
            known = chosen & ~measured.isnan()
            error = (intensity[..., 0] - torch.where(known, measured, 0)).abs()
            count = denominators.clamp(min=1e-12)
            occupancy = torch.where(chosen, entropy, 0).sum() / count[0]
            brightness = torch.where(known, error, 0).sum() / count[1]
            total = occupancy + brightness if self.config.loss.intensity else occupancy
        terms = {"occupancy_bce": occupancy.detach(), "intensity_l1": brightness.detach()}
        return FrameLoss(total, terms)

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
        """Expected range with the occupancy of each sample as its opacity.

        What no sample stops travels to the far end, and so does a ray beside the volume. Arguments
        as `RangeRendering`.
        """
        code = time_code(t_s, self.time_dim, self.config.field.time_scale)
        code = code if field_time else torch.zeros_like(code)
        size = chunk or max(1, ray_o.shape[1])
        parts = [
            self._render_part(scene.volume, code, ray_o[:, i : i + size], ray_d[:, i : i + size])
            for i in range(0, max(1, ray_o.shape[1]), size)
        ]
        range_m, sum_w, brightness, hits = (
            torch.cat(column, 1) for column in zip(*parts, strict=True)
        )
        return RenderedRays(range_m, sum_w, brightness if intensity else None, hits)

    def _render_part(
        self, volume: Tensor, code: Tensor, ray_o: Tensor, ray_d: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        render = self.config.render
        near, far, hits = search_interval(
            ray_o, ray_d, self.config.point_range, near_m=render.near, far_m=render.far
        )
        at_m = stratified(near, far, render.n_uniform + render.n_importance)
        points = ray_o[:, :, None] + at_m[..., None] * ray_d[:, :, None]
        logit, intensity = self._decode(volume, code, points)
        alpha = logit.sigmoid()
        weights = transmittance(alpha) * alpha
        sum_w = weights.sum(-1)
        range_m = (weights * at_m).sum(-1) + (1 - sum_w) * far
        brightness = (weights * intensity).sum(-1) / sum_w.clamp(min=1e-5)
        return torch.where(hits, range_m, far), sum_w, brightness, hits

    def _decode(
        self, volume: Tensor, code: Tensor, points_m: Float[Tensor, "batch rays queries 3"]
    ) -> tuple[Float[Tensor, "batch rays queries"], Float[Tensor, "batch rays queries"]]:
        """Occupancy logit and intensity at points."""
        volume = at_least_float32(volume)
        with full_precision(volume):
            shape = (volume.shape[2], volume.shape[3], volume.shape[4])
            index = self.lattice.index(points_m)
            rows, weights = corner_rows(index, shape, padding=self.config.field.padding)
            features = gather_corners(cell_rows(volume), rows, weights.to(volume.dtype))
            code = code[:, None, None].expand(*points_m.shape[:3], -1)
            features = features.view(*points_m.shape[:3], volume.shape[1])
            joined = torch.cat([points_m / self.scale_m, code, features], dim=-1)
        logit, intensity = at_least_float32(self.head(self.trunk(joined))).unbind(-1)
        return logit, intensity.sigmoid()

    def _choose_rays(
        self, targets: RayTargets
    ) -> tuple[Int[Tensor, "batch chosen"], Bool[Tensor, "batch chosen"]]:
        """A third of the query number in rays, drawn from the valid ones without repetition."""
        num_rays = targets.valid.shape[1]
        noise = keyed_uniform(targets, num_rays, salt=0).masked_fill(~targets.valid, -1)
        third = min(self.config.decoder.occupancy_queries // 3, num_rays)
        drawn, ray = noise.topk(third, dim=1)
        return ray, drawn >= 0


def keyed_uniform(targets: RayTargets, num: int, *, salt: int) -> Float[Tensor, "batch num"]:
    """Random numbers in [0, 1) keyed by (window seed, frame, salt)."""
    draws = []
    for seed, frame in zip(targets.seed.tolist(), targets.frame.tolist(), strict=True):
        key = (seed * 1_000_003 + 2 * frame + salt) % 2**63
        draws.append(torch.rand(num, generator=torch.Generator().manual_seed(key)))
    return torch.stack(draws).to(targets.range_m)
