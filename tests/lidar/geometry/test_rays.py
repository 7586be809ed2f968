import torch

from lidar.geometry.rays import exit_distance, search_interval

BOX = [-2.0, -3.0, -1.0, 4.0, 3.0, 1.0]


def test_from_inside_and_outside():
    origin = torch.tensor([[0.0, 0, 0], [-5.0, 0, 0], [0, 0, 5.0], [0, 0, 5.0], [0.0, 0, 0]])
    direction = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, -1], [0.6, 0.8, 0]])
    near, far, hits = exit_distance(origin, direction, BOX)
    assert hits.tolist() == [True, True, False, True, True]
    torch.testing.assert_close(near, torch.tensor([0.0, 3, 0, 4, 0]))
    torch.testing.assert_close(far, torch.tensor([4.0, 9, 0, 6, 3.75]))


def test_exit_point_lies_on_the_box():
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    origin = torch.rand(500, 3, generator=generator) - 0.5
    near, far, hits = exit_distance(origin, direction, BOX)
    exit_point = origin + far[:, None] * direction
    outside = torch.maximum(exit_point - torch.tensor(BOX[3:]), torch.tensor(BOX[:3]) - exit_point)
    assert hits.all() and (near == 0).all()
    assert outside.amax(-1).abs().max() < 1e-5


def test_behind_and_degenerate_rays_miss():
    origin = torch.tensor([[9.0, 0, 0], [0.0, 0, 0]])
    direction = torch.tensor([[1.0, 0, 0], [0.0, 0, 0]])
    near, far, hits = exit_distance(origin, direction, BOX)
    assert not hits.any()
    assert torch.equal(near, torch.zeros(2)) and torch.equal(far, torch.zeros(2))


def test_search_interval_of_hits_and_misses():
    origin = torch.tensor([[-5.0, 0, 0], [0, 0, 0], [-5.0, 9, 0], [9.0, 9, 0]])
    direction = torch.tensor([1.0, 0, 0]).expand(4, 3)
    near, far, hits = search_interval(origin, direction, BOX, near_m=0.5, far_m=None)
    assert hits.tolist() == [True, True, False, False]
    torch.testing.assert_close(near, torch.tensor([3.0, 0.5, 0.5, 0.5]))
    torch.testing.assert_close(far, torch.tensor([9.0, 4, 6, 0.5]))  # the centre is at x = 1
    near, far, hits = search_interval(origin, direction, BOX, near_m=0.5, far_m=2.0)
    assert hits.tolist() == [False, True, False, False]  # the first enters beyond 2 m
    assert far.tolist() == [2.0] * 4 and (near == 0.5).all()
