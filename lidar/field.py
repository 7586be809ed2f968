"""Temporal LiDAR neural field (TREND 2412.03054 section 3.3, eq. 6-7; f_geo: NeurIPS version).

f_p = trilinear(volume, p); f_t = SE(time_scale t); g = f_geo([p, f_t, f_p]); s = f_SDF(g);
intensity = f_int([f_dir(d), g(p), f_p(p)]) at the scanned point.

The fast form moves the first layer of f_geo before the interpolation, which is linear:
W [p, f_t, f_p] = interp(W_f volume) + (W_t f_t + b) + W_p o + r (W_p d) for p = o + r d.

With `field.detail` (not in the paper) f_geo is also given what finer stages of the encoder say of p
at t0, interpolated in the same way; in the fast form from their occupied voxels alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.mlp import mlp, softplus_mlp, softplus_mlp_naive
from foretell.blocks.positional import sinusoid
from lidar.config import FieldConfig
from lidar.precision import at_least_float32, full_precision
from lidar.rendering.interpolation import (
    cell_rows,
    corner_rows,
    gather_along_rays,
    gather_corners,
    gather_occupied,
    interpolate,
    occupied_corners,
    project_and_gather,
)
from lidar.rendering.lattice import Lattice
from lidar.sparse.tensor import SparseTensor

BETA = 100.0
"""Sharpness of the softplus of f_geo and f_SDF."""
FREE_SPACE = 0.1
"""Initial bias of the signed distance, in normalised units: everything starts as free space."""


class SceneFeatures(NamedTuple):
    """What the encoder knows of the scene."""

    volume: Float[Tensor, "batch channels depth height width"]
    """Features of one frame; the recurrence replaces them."""
    detail: tuple[SparseTensor, ...] = ()
    """Finer stages at t0 (`field.detail`), the same for every frame."""


class FieldVolume(NamedTuple):
    """A feature volume made ready for queries at one time per sample."""

    volume: Float[Tensor, "batch channels depth height width"]
    """As the encoder or the recurrence gave it."""
    table: Float[Tensor, "cells width"]
    """W_f times every cell; empty in the naive form."""
    detail: tuple[SparseTensor, ...]
    """The finer stages; in the fast form times their columns of the first layer."""
    time_code: Float[Tensor, "batch time_dim"]
    """f_t; zeros when time is hidden."""
    at_points: Float[Tensor, "batch points channels"]
    """f_p at the points given to `prepare`."""


class TemporalField(nn.Module):
    """Signed distance and intensity at any point and time of a feature volume.

    Initialisation: PyTorch's default for linear layers, and FREE_SPACE as bias of the signed
    distance. The initial field is then a small positive constant with ripples, which the sharpness
    of about 20 turns into nearly transparent space with a gradient everywhere.

    Args:
        config: Widths and forms.
        in_channels: Channels of the volume.
        lattice: Where its cells sit.
        scale_m: Metres per unit of position and signed distance, max(abs(range)) or 1.
        time: Feed the time code.
        detail: Channels and lattice of every finer stage.
    """

    def __init__(
        self,
        config: FieldConfig,
        in_channels: int,
        *,
        lattice: Lattice,
        scale_m: float,
        time: bool = True,
        detail: Sequence[tuple[int, Lattice]] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        self.lattice = lattice
        self.scale_m = scale_m
        self.time_dim = config.time_dim if time else 0
        self.detail_channels = [channels for channels, _ in detail]
        self.detail_lattices = [lattice for _, lattice in detail]
        features = in_channels + sum(self.detail_channels)
        geo = [3 + self.time_dim + features, *config.f_geo]
        sdf = [config.f_geo[-1], *config.f_sdf, 1]
        self.f_geo = nn.ModuleList(map(nn.Linear, geo[:-1], geo[1:]))
        self.f_sdf = nn.ModuleList(map(nn.Linear, sdf[:-1], sdf[1:]))
        self.f_dir = mlp([3, *config.f_dir])
        self.f_int = mlp([config.f_dir[-1] + config.f_geo[-1] + in_channels, *config.f_int, 1])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Default linear layers; free space everywhere."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        last = self.f_sdf[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, FREE_SPACE)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"in_channels={self.in_channels}, detail={self.detail_channels}, "
            f"time_dim={self.time_dim}, scale_m={self.scale_m}"
        )

    @property
    def fast(self) -> bool:
        """Which implementation answers."""
        return self.config.implementation == "fast"

    @property
    def _first(self) -> nn.Linear:
        layer = self.f_geo[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def prepare(
        self,
        scene: SceneFeatures,
        t_s: Float[Tensor, " batch"],
        *,
        points_m: Float[Tensor, "batch points 3"] | None = None,
        time: bool = True,
    ) -> FieldVolume:
        """Project the features once, for all queries of a frame.

        Args:
            scene: Features, x y z = last, second last, third last axis of the volume.
            t_s: Seconds since t0.
            points_m: Points whose features f_p are wanted, such as the hits.
            time: False hides the time from a field that was trained with it.
        """
        volume, detail = scene
        with full_precision(volume):
            code = time_code(t_s, self.time_dim, self.config.time_scale)
            code = code if time else torch.zeros_like(code)
            points_m = code.new_zeros(len(volume), 0, 3) if points_m is None else points_m
            index = self.lattice.index(points_m)
        if not self.fast:
            empty = volume.new_zeros(0, self._first.out_features)
            at_points = interpolate(at_least_float32(volume), index, padding=self.config.padding)
            return FieldVolume(volume, empty, detail, code, at_points)
        rows, weights = corner_rows(index, self._shape(volume), padding=self.config.padding)
        by_feature, *by_detail = self._first.weight[:, 3 + self.time_dim :].split(
            [self.in_channels, *self.detail_channels], dim=1
        )
        full = torch.promote_types(volume.dtype, torch.float32)
        table, at_points = project_and_gather(volume, by_feature, rows, weights.to(full))
        projected = tuple(
            stage.with_feats(functional.linear(stage.feats, columns.to(stage.feats)).to(full))
            for stage, columns in zip(detail, by_detail, strict=True)
        )
        return FieldVolume(
            volume, table, projected, code, at_points.view(*points_m.shape[:2], self.in_channels)
        )

    def query(
        self,
        prepared: FieldVolume,
        ray_o: Float[Tensor, "batch rays 3"],
        ray_d: Float[Tensor, "batch rays 3"],
        ranges_m: Float[Tensor, "batch rays samples"],
    ) -> tuple[Float[Tensor, "batch rays samples"], Float[Tensor, "batch rays samples geo"]]:
        """Signed distance (in units of scale_m) and geometry feature at p = o + r d."""
        first = self._first_fast if self.fast else self._first_naive
        later = [m for m in (*self.f_geo[1:], *self.f_sdf) if isinstance(m, nn.Linear)]
        geometry, sdf = (softplus_mlp if self.fast else softplus_mlp_naive)(
            first(prepared, ray_o, ray_d, ranges_m), later, beta=BETA, tap=len(self.f_geo) - 1
        )
        geometry = geometry.view(*ranges_m.shape, self.config.f_geo[-1])
        return at_least_float32(sdf).view(ranges_m.shape), geometry

    def features_at(
        self, prepared: FieldVolume, points_m: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points channels"]:
        """f_p, the interpolated features themselves."""
        index = self.lattice.index(points_m)
        volume = at_least_float32(prepared.volume)
        if not self.fast:
            return interpolate(volume, index, padding=self.config.padding)
        rows, weights = corner_rows(index, self._shape(volume), padding=self.config.padding)
        gathered = gather_corners(cell_rows(volume), rows, weights.to(volume.dtype))
        return gathered.view(*points_m.shape[:2], self.in_channels)

    def intensity(
        self,
        ray_d: Float[Tensor, "batch rays 3"],
        geometry: Float[Tensor, "batch rays geo"],
        features: Float[Tensor, "batch rays channels"],
    ) -> Float[Tensor, "batch rays"]:
        """Intensity in [0, 1] at scanned points.

        Args:
            ray_d: Unit directions.
            geometry: g at the points, from `query`.
            features: f_p at the points, from `features_at`.
        """
        code = self.f_dir(ray_d)
        joined = torch.cat([code, geometry.to(code.dtype), features.to(code.dtype)], dim=-1)
        return at_least_float32(self.f_int(joined)).sigmoid().squeeze(-1)

    def _first_fast(
        self, prepared: FieldVolume, ray_o: Tensor, ray_d: Tensor, ranges_m: Tensor
    ) -> Float[Tensor, "queries width"]:
        batch, rays, samples = ranges_m.shape
        layer = self._first
        with full_precision(ranges_m):
            points = ray_o[:, :, None] + ranges_m[..., None] * ray_d[:, :, None]
            rows, weights = corner_rows(
                self.lattice.index(points),
                self._shape(prepared.volume),
                padding=self.config.padding,
            )
            table = prepared.table
            by_position, by_time = layer.weight[:, : 3 + self.time_dim].split(
                [3, self.time_dim], dim=1
            )
            per_frame = functional.linear(prepared.time_code, by_time, layer.bias)
            at_origin = functional.linear(ray_o / self.scale_m, by_position) + per_frame[:, None]
            per_metre = functional.linear(ray_d / self.scale_m, by_position)
            lines = torch.stack([at_origin, per_metre], dim=-2)
            out = gather_along_rays(
                table,
                lines.flatten(0, 1),
                rows,
                weights.to(table.dtype),
                ranges_m.reshape(batch * rays, samples),
            )
            for stage, lattice in zip(prepared.detail, self.detail_lattices, strict=True):
                corners = occupied_corners(
                    lattice.index(points),
                    stage.sites.cells,
                    stage.shape,
                    padding=self.config.padding,
                )
                weights = corners.weights.to(stage.feats.dtype)
                out = out + gather_occupied(stage.feats, corners._replace(weights=weights))
            return out

    def _first_naive(
        self, prepared: FieldVolume, ray_o: Tensor, ray_d: Tensor, ranges_m: Tensor
    ) -> Float[Tensor, "queries width"]:
        volume = at_least_float32(prepared.volume)
        with full_precision(ranges_m):
            points = ray_o[:, :, None] + ranges_m[..., None] * ray_d[:, :, None]
            lattices = [self.lattice, *self.detail_lattices]
            volumes = [volume, *(at_least_float32(stage.dense()) for stage in prepared.detail)]
            features = [
                interpolate(volume, lattice.index(points), padding=self.config.padding)
                for volume, lattice in zip(volumes, lattices, strict=True)
            ]
            code = prepared.time_code[:, None, None].expand(*ranges_m.shape, -1)
            joined = torch.cat([points / self.scale_m, code, *features], dim=-1)
        hidden: Tensor = self._first(joined.flatten(0, 2))
        return hidden

    @staticmethod
    def _shape(volume: Tensor) -> tuple[int, int, int]:
        return volume.shape[2], volume.shape[3], volume.shape[4]


def time_code(t_s: Float[Tensor, " batch"], dim: int, scale: float) -> Float[Tensor, "batch dim"]:
    """f_t = SE(scale t), t in seconds since t0; no columns for dim 0."""
    t_s = at_least_float32(t_s)
    return sinusoid(t_s * scale, dim) if dim else t_s.new_zeros(len(t_s), 0)
