import torch

from lidar.config import RenderConfig
from lidar.rendering.march import draw_jitter, march, march_naive


def test_one_query_per_sample_equals_the_literal_form():
    near, far = torch.ones(2, 5, dtype=torch.float64), torch.full((2, 5), 40.0).double()
    slope = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    extra = torch.full((2, 5, 1), 7.0, dtype=torch.float64)
    seen = []

    def query(ranges_m):
        seen.append(ranges_m.shape[-1])
        return torch.sin(slope * (20 - ranges_m)), ranges_m[..., None]

    config = RenderConfig()
    jitter = draw_jitter(torch.tensor([1, 2]), torch.tensor([0, 1]), 5, config, near)
    fast = march(query, near, far, config, jitter=jitter, extra_m=extra)
    assert sum(seen) == 36 + 12 + 1
    naive = march_naive(query, near, far, config, jitter=jitter, extra_m=extra)
    for one, other in zip(fast, naive, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
    grads = [torch.autograd.grad(s.sdf.square().sum(), slope)[0] for s in (fast, naive)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=0)


def test_jitter_is_keyed_by_window_and_frame():
    config, like = RenderConfig(), torch.zeros(1)
    one = draw_jitter(torch.tensor([5, 6]), torch.tensor([1, 1]), 3, config, like)
    other = draw_jitter(torch.tensor([6]), torch.tensor([1]), 3, config, like)
    later = draw_jitter(torch.tensor([6]), torch.tensor([2]), 3, config, like)
    assert torch.equal(one.uniform[1], other.uniform[0])
    assert not torch.equal(other.uniform, later.uniform)
    assert one.rays(slice(1, 3)).importance.shape == (2, 2, 12)
