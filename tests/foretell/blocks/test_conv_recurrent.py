import copy

import pytest
import torch

from foretell.blocks.conv_recurrent import ConvRecurrence, conv_recurrence_naive
from foretell.blocks.protocol import detach_state, index_state


def volume_and_actions(batch=2, channels=6, time=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(batch, channels, 2, 4, 5, generator=generator, dtype=dtype)
    return volume, torch.randn(batch, time, 3, generator=generator, dtype=dtype)


@pytest.mark.parametrize("layers", ["conv_bn_relu_conv", "conv_bn_relu"])
@pytest.mark.parametrize("residual", [True, False])
def test_fast_equals_naive(layers, residual):
    volume, actions = volume_and_actions()
    results = []
    for implementation in ("fast", "naive"):
        torch.manual_seed(0)
        block = ConvRecurrence(
            6, 3, layers=layers, residual=residual, implementation=implementation
        ).double()
        y, state = block(actions, block.seed_state(volume))
        assert torch.equal(state.volume, y[:, -1])
        grads = torch.autograd.grad(y.square().sum(), list(block.parameters()))
        results.append([y, *grads])
    for fast, naive in zip(*results, strict=True):
        torch.testing.assert_close(fast, naive, rtol=1e-10, atol=1e-10)


def test_seed_state_is_identity_and_gradient_crosses_steps():
    volume, actions = volume_and_actions()
    block = ConvRecurrence(6, 3, norm="none").double()
    volume.requires_grad_()
    state = block.seed_state(volume)
    assert state.volume is volume
    y, _ = block(actions, state)
    (grad,) = torch.autograd.grad(y[:, -1].sum(), volume)
    assert grad.abs().sum() > 0
    _, state = block(actions, detach_state(state))
    assert not torch.autograd.grad(state.volume.sum(), volume, allow_unused=True)[0]


def test_step_equals_forward_and_lengths():
    volume, actions = volume_and_actions()
    block = ConvRecurrence(6, 3).double().eval()
    y, last = block(actions, block.seed_state(volume))
    state = block.seed_state(volume)
    for t in range(3):
        y_t, state = block.step(actions[:, t], state)
        torch.testing.assert_close(y_t, y[:, t], rtol=1e-12, atol=1e-12)
    short, cut = block(actions, block.seed_state(volume), lengths=torch.tensor([3, 1]))
    assert torch.equal(short[1, 1:], torch.zeros_like(short[1, 1:]))
    torch.testing.assert_close(cut.volume[1], y[1, 0])
    torch.testing.assert_close(cut.volume[0], last.volume[0])
    reset = torch.zeros(2, 3, dtype=torch.bool)
    reset[:, 2] = True
    fresh, _ = block(actions[:, 2:], block.seed_state(torch.zeros_like(volume)))
    torch.testing.assert_close(block(actions, last, reset=reset)[0][:, 2], fresh[:, 0])
    assert index_state(last, torch.tensor([1])).volume.shape[0] == 1
    empty, same = block(actions[:, :0], last)
    assert empty.shape[1] == 0 and same is last


@pytest.mark.parametrize("norm", ["batch_per_step", "batch", "none"])
@pytest.mark.parametrize("autocast", [True, False])
def test_low_precision_rounds_a_step_and_not_the_state(norm, autocast):
    volume, actions = volume_and_actions(dtype=torch.float32)
    torch.manual_seed(0)
    block = ConvRecurrence(6, 3, norm=norm, residual=True).eval()
    expected, end = block(actions, block.seed_state(volume))
    low = block if autocast else copy.deepcopy(block).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, state = low(actions.bfloat16(), low.seed_state(volume.bfloat16()))
        y_t, after = low.step(actions[:, 0], low.seed_state(volume))
    assert y.dtype == torch.bfloat16 and y_t.dtype == torch.float32
    assert state.volume.dtype == after.volume.dtype == torch.float32
    assert not torch.equal(state.volume, state.volume.bfloat16().float())
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=5e-2)
    torch.testing.assert_close(state.volume, end.volume, rtol=0, atol=5e-2)


def test_small_changes_add_up_under_autocast():
    """256 residual steps of 2^-10 each: every one of them is lost in a bfloat16 volume of ones."""
    block = ConvRecurrence(1, 1, layers="conv_bn_relu", norm="none", residual=True)
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.bias.fill_(2**-10)
    state = block.seed_state(torch.ones(1, 1, 1, 2, 2))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        _, end = block(torch.zeros(1, 256, 1), state)
    assert torch.equal(end.volume, torch.full_like(end.volume, 1.25))


def test_missing_state_and_bad_length_are_named():
    volume, actions = volume_and_actions()
    block = ConvRecurrence(6, 3).double()
    with pytest.raises(ValueError, match="seed_state"):
        block(actions)
    with pytest.raises(ValueError, match="lengths"):
        block(actions, block.seed_state(volume), lengths=torch.tensor([4, 1]))


@pytest.mark.parametrize("norm", ["batch_per_step", "batch", "none"])
@pytest.mark.parametrize("layers", ["conv_bn_relu_conv", "conv_bn_relu"])
def test_a_residual_equals_the_oracle_in_evaluation(layers, norm):
    volume, actions = volume_and_actions()
    torch.manual_seed(0)
    block = ConvRecurrence(6, 3, layers=layers, norm=norm, residual=True, num_steps=2).double()
    block(actions, block.seed_state(volume))  # statistics
    block.eval()
    y, end = block(actions, block.seed_state(volume))
    expected, last = conv_recurrence_naive(block, actions, block.seed_state(volume))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(end.volume, last.volume, rtol=0, atol=1e-9)
    assert torch.equal(end.position, last.position)
