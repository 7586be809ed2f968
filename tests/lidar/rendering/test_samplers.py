import pytest
import torch

from lidar.rendering.samplers import importance, merge, stratified


def test_stratified_middle_and_jitter():
    near, far = torch.tensor([1.0]), torch.tensor([5.0])
    torch.testing.assert_close(stratified(near, far, 4), torch.tensor([[1.5, 2.5, 3.5, 4.5]]))
    jitter = torch.zeros(1, 4)
    torch.testing.assert_close(
        stratified(near, far, 4, jitter=jitter), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    )


def test_importance_finds_the_weight():
    ranges = torch.linspace(0, 10, 11, dtype=torch.float64)[None]
    weights = torch.zeros(1, 10, dtype=torch.float64)
    weights[0, 6] = 1
    drawn = importance(ranges, weights, 5)
    expected = 6 + (torch.arange(5, dtype=torch.float64) + 0.5) / 5
    torch.testing.assert_close(drawn[0], expected, atol=1e-3, rtol=0)


def test_no_weight_is_uniform():
    ranges = torch.linspace(2, 12, 11)[None]
    drawn = importance(ranges, torch.zeros(1, 10), 5)
    torch.testing.assert_close(drawn, torch.tensor([[3.0, 5.0, 7.0, 9.0, 11.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_always_finite_sorted_and_inside(dtype):
    generator = torch.Generator().manual_seed(0)
    rays = 400
    near = torch.full((rays,), 1.0, dtype=dtype)
    far = near + 80 * torch.rand(rays, generator=generator).to(dtype) ** 4
    far[:50] = near[:50]
    first = stratified(near, far, 36, jitter=torch.rand(rays, 36, generator=generator).to(dtype))
    weights = torch.rand(rays, 35, generator=generator).to(dtype) ** 20
    weights[:100] = 0
    weights[100:200] = 0
    weights[100:200, 34] = 1
    almost_one = torch.full((rays, 12), 1 - 1e-7, dtype=dtype)
    for jitter in (None, torch.zeros(rays, 12, dtype=dtype), almost_one):
        drawn = importance(first, weights, 12, jitter=jitter)
        ranges, order = merge(first, drawn)
        assert ranges.isfinite().all()
        assert (ranges.diff(dim=-1) >= 0).all()
        assert (ranges >= near[:, None]).all() and (ranges <= far[:, None] + 1e-5).all()
        torch.testing.assert_close(torch.cat([first, drawn], -1).gather(-1, order), ranges)
