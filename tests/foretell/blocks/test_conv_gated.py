"""ConvGRU and ConvLSTM: cell by cell against torch, vectors against repeated maps."""

import pytest
import torch
from torch import nn

from foretell.blocks.conv_gated import ConvGRU, ConvLSTM

SPACE = {2: (3, 4), 3: (2, 3, 4)}


def rows_of(volume):
    """Cells as rows, [batch * cells, channels]."""
    return volume.movedim(1, -1).reshape(-1, volume.shape[1])


def matrix(weight):
    return weight.detach().flatten(2)[..., 0]


@pytest.mark.parametrize("dims", [2, 3])
def test_one_cell_conv_gru_is_gru_cell(dims):
    channels, inputs = 5, 3
    torch.manual_seed(0)
    block = ConvGRU(channels, inputs, kernel_size=1, reset_after=True, spatial_dims=dims).double()
    cell = nn.GRUCell(inputs, channels).double()
    z, r = matrix(block.gates.weight).chunk(2)
    z_bias, r_bias = block.gates.bias.detach().chunk(2)
    with torch.no_grad():
        candidate, hidden = matrix(block.candidate.weight), matrix(block.hidden.weight)
        cell.weight_ih.copy_(torch.cat([r[:, channels:], z[:, channels:], candidate]))
        cell.weight_hh.copy_(torch.cat([r[:, :channels], z[:, :channels], hidden]))
        cell.bias_ih.copy_(torch.cat([r_bias, z_bias, block.candidate.bias]))
        cell.bias_hh.zero_()
        cell.bias_hh[2 * channels :] = block.hidden.bias
    h = torch.randn(2, channels, *SPACE[dims], dtype=torch.float64)
    x = torch.randn(2, inputs, *SPACE[dims], dtype=torch.float64)
    y, _ = block.step(x, block.seed_state(h))
    torch.testing.assert_close(rows_of(y), cell(rows_of(x), rows_of(h)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_cell_conv_lstm_is_lstm_cell(dims):
    channels, inputs = 5, 3
    torch.manual_seed(0)
    block = ConvLSTM(channels, inputs, kernel_size=1, spatial_dims=dims).double()
    cell = nn.LSTMCell(inputs, channels).double()
    with torch.no_grad():
        cell.weight_hh.copy_(matrix(block.gates.weight)[:, :channels])
        cell.weight_ih.copy_(matrix(block.gates.weight)[:, channels:])
        cell.bias_ih.copy_(block.gates.bias)
        cell.bias_hh.zero_()
    state = block.seed_state(torch.randn(2, channels, *SPACE[dims], dtype=torch.float64))
    state = state._replace(c=torch.randn_like(state.h))
    x = torch.randn(2, inputs, *SPACE[dims], dtype=torch.float64)
    _, after = block.step(x, state)
    h, c = cell(rows_of(x), (rows_of(state.h), rows_of(state.c)))
    torch.testing.assert_close(rows_of(after.h), h, rtol=0, atol=1e-12)
    torch.testing.assert_close(rows_of(after.c), c, rtol=0, atol=1e-12)


@pytest.mark.parametrize("block_class", [ConvGRU, ConvLSTM])
@pytest.mark.parametrize("dims", [2, 3])
def test_convolutions_of_whole_inputs_by_torch(block_class, dims):
    """One step with kernel 3 by torch's convolution of the concatenated input."""
    torch.manual_seed(0)
    block = block_class(4, 3, spatial_dims=dims).double()
    conv = nn.functional.conv2d if dims == 2 else nn.functional.conv3d
    h = torch.randn(2, 4, *SPACE[dims], dtype=torch.float64)
    x = torch.randn(2, 3, *SPACE[dims], dtype=torch.float64)
    y, _ = block.step(x, block.seed_state(h))
    gates = conv(torch.cat([h, x], 1), block.gates.weight, block.gates.bias, padding=1)
    if block_class is ConvLSTM:
        i, _, g, o = gates.chunk(4, 1)
        expected = o.sigmoid() * torch.tanh(i.sigmoid() * g.tanh())
    else:
        z, r = gates.sigmoid().chunk(2, 1)
        n = conv(x, block.candidate.weight, block.candidate.bias, padding=1)
        n = torch.tanh(n + conv(r * h, block.hidden.weight, block.hidden.bias, padding=1))
        expected = (1 - z) * n + z * h
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("block_class", [ConvGRU, ConvLSTM])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_vector_is_a_map_that_repeats_it(block_class, dims):
    torch.manual_seed(0)
    block = block_class(4, 3, spatial_dims=dims).double()
    vectors = torch.randn(2, 5, 3, dtype=torch.float64)
    maps = vectors.view(2, 5, 3, *[1] * dims).expand(-1, -1, -1, *SPACE[dims])
    state = block.seed_state(torch.randn(2, 4, *SPACE[dims], dtype=torch.float64))
    y, end = block(vectors, state)
    expected, other = block(maps, state)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(end.h, other.h, rtol=0, atol=1e-12)
    assert torch.equal(block.readout(end), y[:, -1])


def test_wrong_shapes_are_named():
    block = ConvGRU(4, 3, spatial_dims=2)
    with pytest.raises(ValueError, match=r"x must be \[batch, time, 3\] or .* 2 spatial axes"):
        block(torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="start from seed_state"):
        block(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="kernel_size must be odd, got 2"):
        ConvLSTM(4, 3, kernel_size=2)
