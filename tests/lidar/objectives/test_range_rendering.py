"""Units of the rendered loss."""

import dataclasses

import pytest
import torch

from lidar.config import FieldConfig, LossConfig, RenderConfig, TrendConfig
from lidar.field import SceneFeatures
from lidar.objectives.range_rendering import RangeRendering
from lidar.objectives.targets import RayTargets
from lidar.rendering.lattice import Lattice

CONFIG = TrendConfig(
    point_range=[-8.0, -8.0, -2.0, 8.0, 8.0, 2.0],  # a scene scale of 8 m
    field=FieldConfig(time_dim=4, f_geo=[16, 16], f_sdf=[16]),
    render=RenderConfig(n_uniform=12, n_importance=6),
)


def build(**parts):
    config = dataclasses.replace(CONFIG, **parts)
    lattice = Lattice.build(
        "cell",
        config.point_range,
        centre_m=[-7.0, -7.0, -1.5],
        step_m=[2.0, 2.0, 1.0],
        shape_dhw=(4, 8, 8),
    )
    torch.manual_seed(0)
    return RangeRendering(config, 6, lattice=lattice, time=True).eval()


def flat(**parts):
    """A field of s = 0.1 and intensity 1/2 everywhere: nothing is hit, every range is 0."""
    decoder = build(**parts)
    for layer in (decoder.field.f_sdf[-1], decoder.field.f_int[-1]):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(decoder.field.f_int[-1].bias)
    return decoder


def scene_and_targets(rays=20):
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(1, rays, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.1])
    targets = RayTargets(
        ray_o=torch.zeros(1, rays, 3),
        ray_d=torch.nn.functional.normalize(direction, dim=-1),
        range_m=torch.full((1, rays), 5.0),
        intensity=torch.full((1, rays), 0.25),
        valid=torch.ones(1, rays, dtype=torch.bool),
        t_s=torch.full((1,), 0.5),
        frame=torch.zeros(1, dtype=torch.long),
        seed=torch.tensor([1]),
    )
    return SceneFeatures(torch.randn(1, 6, 4, 8, 8, generator=generator)), targets


def loss(decoder):
    scene, targets = scene_and_targets()
    return decoder.frame_loss(scene, targets, decoder.counts(targets))


@pytest.mark.parametrize("implementation", ["fast", "naive"])
@pytest.mark.parametrize(
    ("unit", "normalize", "surface_m", "total"),
    [
        ("metres", True, 0.8, 2 * 5.0 + 3 * 0.8 + 4 * 0.25),
        ("normalised", True, 0.8, (2 * 5.0 + 3 * 0.8) / 8 + 4 * 0.25),
        ("metres", False, 0.1, 2 * 5.0 + 3 * 0.1 + 4 * 0.25),
        ("normalised", False, 0.1, 2 * 5.0 + 3 * 0.1 + 4 * 0.25),
    ],
)
def test_units_by_hand(unit, normalize, surface_m, total, implementation):
    """The terms are logged in metres; the unit divides range and surface by the scale of 8 m."""
    field = dataclasses.replace(
        CONFIG.field, normalize_scene=normalize, implementation=implementation
    )
    report = loss(flat(loss=LossConfig(weights=[2.0, 3.0, 4.0], unit=unit), field=field))
    expected = {"range_l1": 5.0, "surface_l1": surface_m, "intensity_l1": 0.25}
    assert {name: pytest.approx(report.terms[name].item()) for name in expected} == expected
    assert report.total.item() == pytest.approx(total)


def test_without_normalised_scene_positions_and_distances_are_metres():
    """The same function: columns of the position / 8, distance x 8, sharpness per metre / 8."""
    render = CONFIG.render
    scaled = build()
    metric = build(
        field=dataclasses.replace(CONFIG.field, normalize_scene=False),
        render=dataclasses.replace(
            render,
            importance_inv_s=render.importance_inv_s / 8,
            inv_s_init=render.inv_s_init / 8,
        ),
    )
    assert (scaled.field.scale_m, metric.field.scale_m) == (8.0, 1.0)
    with torch.no_grad():
        metric.field.f_geo[0].weight[:, :3] /= 8
        metric.field.f_sdf[-1].weight *= 8
        metric.field.f_sdf[-1].bias *= 8
    one, other = loss(scaled), loss(metric)
    torch.testing.assert_close(one.total, other.total, rtol=1e-5, atol=0)
    for name, term in one.terms.items():
        torch.testing.assert_close(term, other.terms[name], rtol=1e-5, atol=1e-6)
    scene, targets = scene_and_targets()
    rays = targets.t_s, targets.ray_o, targets.ray_d
    ranges = scaled.render(scene, *rays).range_m
    torch.testing.assert_close(ranges, metric.render(scene, *rays).range_m, rtol=1e-4, atol=1e-4)
    assert ranges.std() > 0.01
