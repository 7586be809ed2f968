import torch

from lidar.rendering import losses

ONE = torch.tensor(1.0)


def test_masked_l1_by_hand_and_nan_targets():
    predicted = torch.tensor([[1.0, 2.0, 5.0]], requires_grad=True)
    target = torch.tensor([[2.0, 4.0, torch.nan]])
    valid = torch.tensor([[True, True, False]])
    loss = losses.masked_l1(predicted, target, valid, torch.tensor(2.0))
    loss.backward()
    assert loss.item() == 1.5
    assert predicted.grad.tolist() == [[-0.5, -0.5, 0.0]]


def test_no_valid_ray_is_zero():
    predicted = torch.ones(1, 2, requires_grad=True)
    none = torch.zeros(1, 2, dtype=torch.bool)
    loss = losses.masked_l1(predicted, torch.ones(1, 2), none, torch.tensor(0.0))
    loss.backward()
    assert loss.item() == 0 and predicted.grad.abs().sum() == 0


def test_free_space_and_line_of_sight():
    ranges, hit = torch.tensor([[1.0, 4.0, 4.8]]), torch.tensor([5.0])
    valid = torch.tensor([True])
    loss = losses.free_space(torch.tensor([[-3.0, 1.0, -9.0]]), ranges, hit, valid, ONE)
    assert loss.item() == 1.0
    stray = losses.line_of_sight(torch.tensor([[0.5, 0.1, 0.9]]), ranges, hit, valid, ONE)
    torch.testing.assert_close(stray, torch.tensor(0.26))


def test_eikonal_of_a_plane_is_zero():
    plus, minus = torch.tensor([[0.1, 0.0, 0.0]]), torch.tensor([[-0.1, 0.0, 0.0]])
    valid = torch.tensor([True])
    assert losses.eikonal(plus, minus, 0.1, valid, ONE).item() < 1e-12
    torch.testing.assert_close(
        losses.eikonal(3 * plus, 3 * minus, 0.1, valid, ONE), torch.tensor(4.0)
    )
