"""RNN, GRU and LSTM against torch.nn; what the general tests of the mixers do not ask."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foretell.blocks.cells import LayerWeights, gru_cell, lstm_cell, rnn_cell
from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN, reverse_rows

PEERS = {
    RNN: lambda **k: nn.RNN(3, 4, batch_first=True, **k),
    ReluRNN: lambda **k: nn.RNN(3, 4, batch_first=True, nonlinearity="relu", **k),
    GRU: lambda **k: nn.GRU(3, 4, batch_first=True, **k),
    LSTM: lambda **k: nn.LSTM(3, 4, batch_first=True, **k),
}


@pytest.mark.parametrize("block_class", PEERS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "lengths", [None, [9, 2, 7, 9, 1, 5, 3], [9, 9, 4, 4, 4, 9, 9], [6, 6, 6, 6, 6, 6, 6]]
)
def test_equals_torch(block_class, bidirectional, lengths):
    """Values and gradients; packed where rows differ, by pieces and by the packed fall-back."""
    torch.manual_seed(0)
    peer = PEERS[block_class](num_layers=2, bidirectional=bidirectional).double()
    block = block_class(3, 4, num_layers=2, bidirectional=bidirectional).double()
    block.core.load_state_dict(peer.state_dict())
    x = torch.randn(7, 9, 3, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    sizes = None if lengths is None else torch.tensor(lengths)
    y, state = block(mine, lengths=sizes)
    if lengths is None:
        expected, end = peer(theirs)
    else:
        packed, end = peer(pack_padded_sequence(theirs, sizes, True, enforce_sorted=False))
        expected, _ = pad_packed_sequence(packed, True, total_length=9)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    ends = end if block_class is LSTM else (end,)
    for field, other in zip(state, ends, strict=True):
        torch.testing.assert_close(field.transpose(0, 1), other, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(out.square().sum(), [given, *module.parameters()])
        for out, given, module in ((y, mine, block.core), (expected, theirs, peer))
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_cells_equal_torchs():
    torch.manual_seed(0)
    x, h, c = (torch.randn(5, n, dtype=torch.float64) for n in (3, 4, 4))
    for cell_class, own in (
        (nn.RNNCell, lambda w: rnn_cell(x, h, w)),
        (nn.GRUCell, lambda w: gru_cell(x, h, w)),
        (nn.LSTMCell, lambda w: lstm_cell(x, h, c, w)),
    ):
        cell = cell_class(3, 4).double()
        weights = LayerWeights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        expected = cell(x, (h, c)) if cell_class is nn.LSTMCell else cell(x, h)
        torch.testing.assert_close(own(weights), expected, rtol=0, atol=1e-12)


def test_options_of_keras_and_its_number_of_weights():
    """Two LSTM layers of 128 on 25 features with a single bias: the DAP branch."""
    first = LSTM(25, 128, single_bias=True, forget_bias=1.0)
    second = LSTM(128, 128, single_bias=True)
    count = [sum(p.numel() for p in block.parameters()) for block in (first, second)]
    assert count == [78_848, 131_584]
    bias = first.core.bias_ih_l0.detach()
    assert float(bias[128:256].mean()) == pytest.approx(1.0, abs=0.05)
    assert bias[:128].abs().max() <= 128**-0.5
    assert not any("bias_hh" in name for name in first.state_dict())


def test_orthogonal_recurrent_matrices():
    block = GRU(3, 6, orthogonal_recurrent=True)
    for gate in block.core.weight_hh_l0.chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize("block_class", [RNN, GRU, LSTM])
def test_recurrent_dropout_has_one_mask_for_all_steps(block_class):
    """Without input every unit whose state is masked sees zeros at every step."""
    torch.manual_seed(0)
    block = block_class(3, 5, recurrent_dropout=0.5).double()
    x = torch.randn(2, 8, 3, dtype=torch.float64)
    torch.manual_seed(5)
    y, _ = block(x, lengths=torch.tensor([8, 3]))
    torch.manual_seed(5)
    assert torch.equal(block(x, lengths=torch.tensor([8, 3]))[0], y)
    assert torch.count_nonzero(y[1, 3:]) == 0
    torch.manual_seed(5)
    (mask,) = block._masks(x)
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    h = x.new_zeros(2, 5)
    state, weights = (h, h)[: 2 if block_class is LSTM else 1], block._weights(0, 0, x.dtype)
    for t in range(8):
        if block_class is GRU:
            state = (gru_cell(x[:, t], state[0], weights, recurrent=state[0] * mask),)
        else:
            state = block._cell(x[:, t], (state[0] * mask, *state[1:]), weights)
        torch.testing.assert_close(y[0, t], state[0][0], rtol=0, atol=1e-12)
    assert not torch.equal(block.eval()(x)[0], y)
    with pytest.raises(ValueError, match="recurrent_dropout is for one direction"):
        block_class(3, 5, recurrent_dropout=0.5, bidirectional=True)


def test_dropout_between_layers_is_for_training_alone():
    torch.manual_seed(0)
    x = torch.randn(3, 6, 3)
    for lengths in (None, torch.tensor([6, 2, 4])):
        for bidirectional in (False, True):
            block = LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=bidirectional)
            assert not torch.equal(block(x, lengths=lengths)[0], block(x, lengths=lengths)[0])
            block.eval()
            assert torch.equal(block(x, lengths=lengths)[0], block(x, lengths=lengths)[0])
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        LSTM(3, 4, dropout=1.0)


def test_seed_and_readout():
    block = LSTM(3, 4, num_layers=2)
    vector = torch.randn(2, 8)
    state = block.seed_state(vector)
    assert torch.equal(state.h.flatten(1), vector) and not state.c.any()
    assert torch.equal(block.readout(state), vector[:, 4:])
    y, end = block(torch.randn(2, 5, 3), state)
    torch.testing.assert_close(block.readout(end), y[:, -1])
    with pytest.raises(ValueError, match="seed must have width 8, got 4"):
        block.seed_state(vector[:, :4])
    both = GRU(3, 4, num_layers=2, bidirectional=True)
    assert both.readout(both.init_state(3)).shape == (3, both.output_dim)


def test_reverse_rows():
    x = torch.arange(8.0).view(2, 4, 1)
    assert reverse_rows(x, torch.tensor([3, 0]))[..., 0].tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
