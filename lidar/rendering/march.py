"""Sampling a ray twice: uniformly, then where a fixed-sharpness rendering puts its weight."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lidar.config import RenderConfig
from lidar.rendering.samplers import importance, merge, stratified
from lidar.rendering.volume import interval_weights

Query = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Ranges [batch, rays, samples] -> signed distances [.., samples], geometry [.., samples, dim]."""


class Jitter(NamedTuple):
    """Random positions inside bins and quantiles, in [0, 1)."""

    uniform: Float[Tensor, "batch rays uniform"]
    """Of the stratified samples."""
    importance: Float[Tensor, "batch rays importance"]
    """Of the importance draws."""

    def rays(self, part: slice) -> "Jitter":
        """A part of the rays."""
        return Jitter(self.uniform[:, part], self.importance[:, part])


class RaySamples(NamedTuple):
    """Field values along rays."""

    ranges_m: Float[Tensor, "batch rays samples"]
    """Ascending."""
    sdf: Float[Tensor, "batch rays samples"]
    """Signed distance at each range, in the field's unit."""
    extra_sdf: Float[Tensor, "batch rays extra"]
    """At the extra ranges."""
    extra_geometry: Float[Tensor, "batch rays extra dim"]
    """Geometry features at the extra ranges."""


def draw_jitter(
    seed: Int[Tensor, " batch"],
    frame: Int[Tensor, " batch"],
    num_rays: int,
    config: RenderConfig,
    like: Tensor,
) -> Jitter:
    """Random numbers keyed by (window seed, frame), the same on every device and in every chunk."""
    widths = (config.n_uniform, config.n_importance)
    draws = []
    for key, n in zip(seed.tolist(), frame.tolist(), strict=True):
        generator = torch.Generator().manual_seed((key * 1_000_003 + n) % 2**63)
        draws.append(torch.rand(num_rays, sum(widths), generator=generator))
    uniform, drawn = torch.stack(draws).to(like).split(widths, dim=-1)
    return Jitter(uniform, drawn)


def march(
    query: Query,
    near_m: Float[Tensor, "batch rays"],
    far_m: Float[Tensor, "batch rays"],
    config: RenderConfig,
    *,
    jitter: Jitter | None = None,
    extra_m: Float[Tensor, "batch rays extra"] | None = None,
) -> RaySamples:
    """Sample rays as NeuS, asking the field once per sample.

    The importance pass has no gradient, but the uniform samples stay among the final ones at the
    same ranges; their values are kept instead of being computed again (48 queries instead of
    36 + 48). `march_naive` is the literal form.

    Args:
        query: The field.
        near_m: First distance.
        far_m: Last distance.
        config: Numbers of samples and the sharpness of the importance pass.
        jitter: Random positions; None = deterministic.
        extra_m: Further ranges to evaluate, outside the rendering.
    """
    uniform_jitter = None if jitter is None else jitter.uniform
    uniform_m = stratified(near_m, far_m, config.n_uniform, jitter=uniform_jitter)
    uniform_sdf, _ = query(uniform_m)
    drawn_m = _draw(uniform_m, uniform_sdf.detach(), config, jitter)
    extra_m = near_m[..., None][..., :0] if extra_m is None else extra_m
    later_sdf, geometry = query(torch.cat([drawn_m, extra_m], dim=-1))
    drawn_sdf, extra_sdf = later_sdf.split([config.n_importance, extra_m.shape[-1]], dim=-1)
    ranges_m, order = merge(uniform_m, drawn_m)
    sdf = torch.cat([uniform_sdf, drawn_sdf], dim=-1).gather(-1, order)
    return RaySamples(ranges_m, sdf, extra_sdf, geometry[..., config.n_importance :, :])


def march_naive(
    query: Query,
    near_m: Float[Tensor, "batch rays"],
    far_m: Float[Tensor, "batch rays"],
    config: RenderConfig,
    *,
    jitter: Jitter | None = None,
    extra_m: Float[Tensor, "batch rays extra"] | None = None,
) -> RaySamples:
    """The literal form of `march`: a pass without gradient, then all samples anew."""
    uniform_jitter = None if jitter is None else jitter.uniform
    uniform_m = stratified(near_m, far_m, config.n_uniform, jitter=uniform_jitter)
    with torch.no_grad():
        drawn_m = _draw(uniform_m, query(uniform_m)[0], config, jitter)
    ranges_m, _ = merge(uniform_m, drawn_m)
    extra_m = near_m[..., None][..., :0] if extra_m is None else extra_m
    sdf, geometry = query(torch.cat([ranges_m, extra_m], dim=-1))
    samples = ranges_m.shape[-1]
    return RaySamples(ranges_m, sdf[..., :samples], sdf[..., samples:], geometry[..., samples:, :])


def _draw(
    ranges_m: Tensor, sdf: Tensor, config: RenderConfig, jitter: Jitter | None
) -> Float[Tensor, "batch rays importance"]:
    weights = interval_weights(sdf, sdf.new_tensor(config.importance_inv_s), form=config.alpha)
    draws = None if jitter is None else jitter.importance
    return importance(ranges_m, weights, config.n_importance, jitter=draws)
