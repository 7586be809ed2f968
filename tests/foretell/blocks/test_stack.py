"""Residual stacks and LRCN."""

import pytest
import torch
from torch import nn

from foretell.blocks.recurrent import GRU, LSTM
from foretell.blocks.stack import LRCN, Stack, TimeDistributed


def test_a_layer_adds_to_its_input():
    torch.manual_seed(0)
    stack = Stack([GRU(3, 4), GRU(4, 4)]).eval()
    x = torch.randn(2, 5, 3)
    first, second = stack.mixers
    a, _ = first(stack.norms[0](x))  # 3 -> 4: no skip
    b, _ = second(stack.norms[1](a))
    torch.testing.assert_close(stack(x)[0], a + b)
    assert torch.equal(stack.readout(stack(x)[1]), stack(x)[1][-1].h[:, -1])


def test_dropout_is_for_training_and_spares_the_last_output_without_a_skip():
    torch.manual_seed(0)
    plain = Stack([LSTM(3, 8), LSTM(8, 8)], norm="none", residual=False, dropout=0.5)
    y, _ = plain(torch.randn(2, 5, 3))
    assert not (y == 0).any()
    plain.eval()
    x = torch.randn(2, 5, 3)
    assert torch.equal(plain(x)[0], plain(x)[0])


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.filterwarnings("error")
def test_inputs_of_another_type_than_the_norms(norm, weights, dtype):
    torch.manual_seed(0)
    stack = Stack([GRU(3, 4), LSTM(4, 4), GRU(4, 4)], norm=norm)
    x = torch.randn(2, 5, 3).to(dtype)
    expected, _ = stack.double()(x.double())
    stack = stack.to(weights)
    x.requires_grad_()
    y, state = stack(x)
    y_t, _ = stack.step(x[:, 0], stack.init_state(2))
    assert y.dtype == y_t.dtype == dtype and state[0].h.dtype != torch.bfloat16
    low = torch.bfloat16 in (weights, dtype) or dtype == torch.float16
    tolerance = 6e-2 if low else 1e-5
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(y_t, y[:, 0], rtol=0, atol=tolerance)
    y.double().sum().backward()
    assert x.grad.dtype == dtype and torch.isfinite(x.grad).all() and x.grad.any()
    assert all(torch.isfinite(weight.grad).all() for weight in stack.parameters())


def test_widths_must_fit():
    with pytest.raises(ValueError, match="a layer gives 4, the next takes 5"):
        Stack([GRU(3, 4), GRU(5, 4)])
    with pytest.raises(ValueError, match="at least one mixer"):
        Stack([])


def test_folded_frames_equal_a_loop():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    x = torch.randn(2, 5, 3, 6, 7)
    folded = TimeDistributed(encoder)(x)
    loop = torch.stack([encoder(frame) for frame in x.unbind(1)], 1)
    torch.testing.assert_close(folded, loop)


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_lrcn_pools_valid_steps_alone(pool):
    torch.manual_seed(0)
    model = LRCN(nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), LSTM(3, 4), 2, pool=pool)
    x, lengths = torch.randn(3, 5, 2, 4), torch.tensor([5, 2, 0])
    answer, state = model(x, lengths=lengths)
    y, end = model.mixer(model.frames(x), lengths=lengths)
    assert torch.equal(state.h, end.h)
    if pool == "none":
        torch.testing.assert_close(answer, model.head(y))
        return
    for row, length in enumerate([5, 2]):
        steps = model.head(y[row, :length])
        torch.testing.assert_close(answer[row], steps.mean(0) if pool == "mean" else steps[-1])
    torch.testing.assert_close(answer[2], model.head.bias)
    whole, _ = model(x)
    expected = model.head(model.mixer(model.frames(x))[0])
    torch.testing.assert_close(whole, expected.mean(1) if pool == "mean" else expected[:, -1])
