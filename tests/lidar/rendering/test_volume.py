import math

import pytest
import torch

from lidar.config import RenderConfig
from lidar.rendering.march import march
from lidar.rendering.volume import (
    expected_range,
    interval_alpha,
    interval_range,
    interval_weights,
    transmittance,
)

SCALE_M = 54.0
TARGETS = torch.linspace(5, 60, 4000, dtype=torch.float64)[None]


def render(sdf_m, inv_s, *, depth_at="mid"):
    """Mean range error and sum of weights in the setting of specification section 6."""
    near = torch.full_like(TARGETS, 1.0)
    far = torch.full_like(TARGETS, 80.0)
    samples = march(lambda r: (sdf_m(r) / SCALE_M, r[..., None]), near, far, RenderConfig())
    weights = interval_weights(samples.sdf, torch.tensor(float(inv_s), dtype=torch.float64))
    at_m = interval_range(samples.ranges_m, depth_at=depth_at)
    return *expected_range(weights, at_m), samples


def brute_force(sdf, ranges, inv_s):
    """Eq. 8-11 term by term in Python floats."""
    phi = [1 / (1 + math.exp(-min(max(inv_s * s, -700), 700))) for s in sdf]
    passed, total = 1.0, 0.0
    for n in range(len(sdf) - 1):
        alpha = max((phi[n] - phi[n + 1]) / phi[n], 0)
        total += passed * alpha * (ranges[n] + ranges[n + 1]) / 2
        passed *= 1 - alpha
    return total


def sphere(radius_m):
    """Hit within half its radius, uniformly over that disc."""
    share = torch.rand(TARGETS.shape, generator=torch.Generator().manual_seed(0)).double()
    offset = radius_m / 2 * share.sqrt()
    centre = TARGETS + (radius_m**2 - offset**2).sqrt()
    return lambda r: ((r - centre[..., None]) ** 2 + offset[..., None] ** 2).sqrt() - radius_m


def plane(incidence_deg):
    cosine = math.cos(math.radians(incidence_deg))
    return lambda r: (TARGETS[..., None] - r) * cosine


def box(half_m):
    """Rays along x into a box around the axis, entered at TARGETS, 1 m from its edges."""

    def sdf(r):
        q = torch.stack([(r - TARGETS[..., None] - half_m).abs() - half_m, 0 * r - 1.0], dim=-1)
        return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)

    return sdf


@pytest.mark.parametrize(
    ("inv_s", "left", "mid", "tolerance"),
    [(20, -0.554, 0.149, 0.06), (64, -0.287, 0.004, 0.02), (256, -0.183, 0.0, 0.02)],
)
def test_t1_plane_numbers(inv_s, left, mid, tolerance):
    """Specification section 6: mean error of the near end and of the mid-point."""
    errors = [
        float((render(plane(0), inv_s, depth_at=at)[0] - TARGETS).mean()) for at in ("left", "mid")
    ]
    assert abs(errors[0] - left) < tolerance
    assert abs(errors[1] - mid) < 0.01
    if inv_s == 64:
        assert abs(errors[1]) < 0.02
        assert abs(errors[0]) < 79 / 36


@pytest.mark.parametrize(("incidence", "error"), [(0, 0.003), (60, 0.04), (80, 0.51)])
def test_t1_oblique_numbers(incidence, error):
    assert abs(float((render(plane(incidence), 64)[0] - TARGETS).mean()) - error) < 0.02


@pytest.mark.parametrize(
    ("radius", "error", "weight"), [(1, -13.0, 0.62), (2, -7.5, 0.78), (5, -1.0, 0.97), (20, 0, 1)]
)
def test_t1_sphere_numbers(radius, error, weight):
    """A ray leaves a small body again, and the missing weight counts as range 0."""
    range_m, sum_w, _ = render(sphere(radius), 64)
    assert abs(float((range_m - TARGETS).mean()) - error) < 0.1 * abs(error) + 0.4
    assert abs(float(sum_w.mean()) - weight) < 0.04


@pytest.mark.parametrize("inv_s", [20.0, 64.0, 1024.0])
@pytest.mark.parametrize("body", [plane(0), plane(60), sphere(5.0), box(4.0)])
def test_t1_equals_brute_force(body, inv_s):
    range_m, _, samples = render(body, inv_s)
    for ray in range(0, TARGETS.shape[1], 97):
        sdf, ranges = samples.sdf[0, ray], samples.ranges_m[0, ray]
        finite = sdf * inv_s > -700  # beyond, the printed quotient is 0/0
        expected = brute_force(sdf[finite].tolist(), ranges[finite].tolist(), inv_s)
        assert abs(float(range_m[0, ray]) - expected) < 1e-9 * 80


@pytest.mark.parametrize("body", [plane(0), plane(59), sphere(5.0), sphere(20.0), box(4.0)])
def test_t1_sharp_dense_samples_find_the_surface(body):
    """512 uniform samples within 2 m of the hit at z = 1024: mean error below 0.02 m."""
    ranges = TARGETS[..., None] + torch.linspace(-2, 2, 512, dtype=torch.float64)
    weights = interval_weights(body(ranges) / SCALE_M, torch.tensor(1024.0, dtype=torch.float64))
    range_m, _ = expected_range(weights, interval_range(ranges), normalize=False)
    assert abs(float((range_m - TARGETS).mean())) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_of_weights_closed_form(dtype):
    """s decreasing: sum w = 1 - Phi(s_N)/Phi(s_1)."""
    sdf = torch.linspace(0.6, -0.2, 48, dtype=dtype)[None]
    for inv_s in (1.0, 5.0, 20.0):
        total = interval_weights(sdf, torch.tensor(inv_s, dtype=dtype)).sum()
        phi = torch.sigmoid(inv_s * sdf[0])
        torch.testing.assert_close(total, 1 - phi[-1] / phi[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["log", "eps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t13_finite_everywhere(form, dtype):
    """z in 1..1e6 and s in +-100: finite alpha and gradients."""
    generator = torch.Generator().manual_seed(0)
    scale = 10 ** (4 * torch.rand(64, 1, generator=generator) - 2)
    sdf = ((2 * torch.rand(64, 16, generator=generator) - 1) * scale).to(dtype)
    sdf[0], sdf[1], sdf[2] = 100, -100, 0
    sdf[3, ::2], sdf[3, 1::2] = 100, -100
    for inv_s in (1.0, 20.0, 1e3, 1e6):
        leaf = sdf.clone().requires_grad_()
        z = torch.tensor(inv_s, dtype=dtype, requires_grad=True)
        alpha = interval_alpha(leaf, z, form=form)
        assert ((alpha >= 0) & (alpha <= 1)).all()
        weights = interval_weights(leaf, z, form=form)
        assert weights.isfinite().all()
        for grad in torch.autograd.grad(weights.square().sum() + alpha.sum(), [leaf, z]):
            assert grad.isfinite().all()


@pytest.mark.parametrize("form", ["log", "eps"])
@pytest.mark.parametrize("last_alpha", ["zero", "one"])
def test_t13_gradcheck(form, last_alpha):
    generator = torch.Generator().manual_seed(0)
    sdf = torch.randn(3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    inv_s = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    ranges = torch.arange(7, dtype=torch.float64).expand(3, 7)

    def rendered(sdf, inv_s):
        weights = interval_weights(sdf, inv_s, form=form, last_alpha=last_alpha)
        return expected_range(weights, interval_range(ranges, last_alpha=last_alpha))

    assert torch.autograd.gradcheck(rendered, (sdf, inv_s))


def test_last_alpha_one_is_opaque():
    sdf = torch.full((2, 5), 0.3)
    weights = interval_weights(sdf, torch.tensor(20.0), last_alpha="one")
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))
    range_m, _ = expected_range(
        weights, interval_range(torch.arange(5.0).expand(2, 5), last_alpha="one")
    )
    torch.testing.assert_close(range_m, torch.full((2,), 4.0))


def test_normalised_weights_and_transmittance():
    weights, at_m = torch.tensor([[0.25, 0.25]]), torch.tensor([[2.0, 4.0]])
    assert expected_range(weights, at_m)[0].item() == 1.5
    assert expected_range(weights, at_m, normalize=True)[0].item() == 3.0
    passed = transmittance(torch.tensor([0.5, 0.5, 1.0]))
    assert passed.tolist() == [1.0, 0.5, 0.25]
