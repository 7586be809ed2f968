"""T16: the fast field equals the literal one, values and gradients."""

import dataclasses

import pytest
import torch

from lidar.config import FieldConfig
from lidar.field import SceneFeatures, TemporalField
from lidar.rendering.lattice import Lattice
from lidar.sparse.tensor import SparseTensor

RANGE = [-4.0, -4.0, -2.0, 4.0, 4.0, 2.0]
CHANNELS = 6


DETAIL = [(3, (9, 10, 14)), (2, (4, 1, 6))]
"""Channels and D H W of two finer stages."""


def build(depth, *, dtype=torch.float64, time=True, detail=(), **changes):
    config = dataclasses.replace(FieldConfig(f_geo=[8, 8, 8], f_sdf=[8], time_dim=4), **changes)

    def lattice(shape):
        step = [8 / shape[2], 8 / shape[1], 4 / shape[0]]
        centre = [-4 + step[0] / 2 - 0.1, -4 + step[1] / 2, -2 + step[2] / 2]
        return Lattice.build(config.grid, RANGE, centre_m=centre, step_m=step, shape_dhw=shape)

    torch.manual_seed(0)
    return TemporalField(
        config,
        CHANNELS,
        lattice=lattice((depth, 5, 7)),
        scale_m=4.0,
        time=time,
        detail=[(channels, lattice(shape)) for channels, shape in detail],
    ).to(dtype)


def sparse_stages(dtype=torch.float64, *, share=0.3):
    """A third of the cells of each stage occupied; none of the second sample's first stage."""
    generator = torch.Generator().manual_seed(2)
    stages = []
    for channels, shape in DETAIL:
        occupied = torch.rand(2, *shape, generator=generator) < share
        occupied[1] &= bool(stages)
        coords = occupied.nonzero()
        feats = torch.randn(len(coords), channels, generator=generator, dtype=torch.float64)
        stages.append(SparseTensor(coords, feats.to(dtype).requires_grad_(), shape, 2))
    return tuple(stages)


def inputs(depth, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    volume = draw(2, CHANNELS, depth, 5, 7).requires_grad_()
    direction = torch.nn.functional.normalize(draw(2, 9, 3), dim=-1)
    ranges = 6 * torch.rand(2, 9, 11, generator=generator, dtype=torch.float64).to(dtype)
    t_s = torch.tensor([0.0, 0.5], dtype=dtype)
    return volume, t_s, 0.3 * draw(2, 9, 3), direction, ranges


def evaluate(field, volume, t_s, ray_o, ray_d, ranges, detail=()):
    points = ray_o + 2 * ray_d
    prepared = field.prepare(SceneFeatures(volume, detail), t_s, points_m=points)
    sdf, geometry = field.query(prepared, ray_o, ray_d, ranges)
    intensity = field.intensity(ray_d, geometry[:, :, 0], prepared.at_points)
    same = field.features_at(prepared, points)
    torch.testing.assert_close(same, prepared.at_points)
    total = sdf.square().sum() + geometry.sum() + intensity.sum()
    inputs = [volume, *(stage.feats for stage in detail), *field.parameters()]
    return [sdf, geometry, intensity, *torch.autograd.grad(total, inputs)]


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("grid", ["receptive_field", "cell", "corners"])
def test_t16_fast_equals_naive_float64(depth, padding, grid):
    arguments = inputs(depth)
    results = [
        evaluate(build(depth, padding=padding, grid=grid, implementation=name), *arguments)
        for name in ("fast", "naive")
    ]
    for fast, naive in zip(*results, strict=True):
        assert (fast - naive).norm() <= 1e-12 * naive.norm()


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("grid", ["receptive_field", "cell", "corners"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_finer_stages_by_occupied_voxels_equal_dense_ones(share, padding, grid):
    """Nothing occupied, a part, everything; values and gradients."""
    arguments = inputs(2)
    detail = sparse_stages(share=share)
    options = {"detail": DETAIL, "padding": padding, "grid": grid}
    results = [
        evaluate(build(2, implementation=name, **options), *arguments, detail)
        for name in ("fast", "naive")
    ]
    for fast, naive in zip(*results, strict=True):
        assert (fast - naive).norm() <= 1e-12 * naive.norm()
    assert (results[0][4].norm() > 0) == (share > 0)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_t16_fast_equals_naive_float32(depth):
    """Interpolation and first layer to 2e-6 relative, values and gradients."""
    volume, t_s, ray_o, ray_d, ranges = inputs(depth, torch.float32)
    results = []
    for name in ("fast", "naive"):
        field = build(depth, dtype=torch.float32, implementation=name)
        first = field._first_fast if field.fast else field._first_naive
        out = first(field.prepare(SceneFeatures(volume), t_s), ray_o, ray_d, ranges)
        weight = field.f_geo[0].weight
        results.append([out, *torch.autograd.grad(out.sum(), [volume, weight])])
    for fast, naive in zip(*results, strict=True):
        assert (fast - naive).norm() <= 2e-6 * naive.norm()


def test_gradcheck_through_the_field():
    field = build(2, implementation="fast")
    volume, t_s, ray_o, ray_d, ranges = inputs(2)

    def sdf(volume):
        prepared = field.prepare(SceneFeatures(volume), t_s)
        return field.query(prepared, ray_o[:, :2], ray_d[:, :2], ranges[:, :2, :3])[0]

    assert torch.autograd.gradcheck(sdf, volume)


def test_gradcheck_of_the_finer_stages():
    field, stages = build(2, detail=DETAIL), sparse_stages()
    volume, t_s, ray_o, ray_d, ranges = inputs(2)

    def sdf(*feats):
        detail = tuple(s.with_feats(f) for s, f in zip(stages, feats, strict=True))
        prepared = field.prepare(SceneFeatures(volume.detach(), detail), t_s)
        return field.query(prepared, ray_o[:, :2], ray_d[:, :2], ranges[:, :2, :3])[0]

    assert torch.autograd.gradcheck(sdf, [stage.feats for stage in stages])


def test_time_is_hidden_or_absent():
    volume, t_s, ray_o, ray_d, ranges = inputs(2)
    field = build(2)
    assert build(2, time=False).f_geo[0].in_features == field.f_geo[0].in_features - 4

    def sdf(t, **options):
        return field.query(
            field.prepare(SceneFeatures(volume), t, **options), ray_o, ray_d, ranges
        )[0]

    assert not torch.equal(sdf(t_s), sdf(t_s + 1))
    assert torch.equal(sdf(t_s, time=False), sdf(t_s + 1, time=False))


def test_initial_field_is_free_space():
    volume, t_s, ray_o, ray_d, ranges = inputs(5)
    field = build(5)
    sdf, _ = field.query(field.prepare(SceneFeatures(volume * 0), t_s), ray_o, ray_d, ranges)
    assert (sdf > 0).double().mean() > 0.9


def test_autocast_keeps_distances_in_full_precision():
    field = build(2, dtype=torch.float32)
    volume, t_s, ray_o, ray_d, ranges = inputs(2, torch.float32)
    exact, _ = field.query(field.prepare(SceneFeatures(volume), t_s), ray_o, ray_d, ranges)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prepared = field.prepare(SceneFeatures(volume), t_s)
        sdf, geometry = field.query(prepared, ray_o, ray_d, ranges)
        (grad,) = torch.autograd.grad(sdf.sum(), volume)
    assert prepared.table.dtype == sdf.dtype == torch.float32
    assert geometry.dtype == torch.bfloat16
    assert (sdf - exact).abs().max() < 0.05 and grad.isfinite().all()
