"""EvolveGCN's matrix cells, column by column."""

import pytest
import torch
from torch import nn

from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM, summarise


def cell_and_input(cell_class, rows=4, cols=3, batch=2):
    torch.manual_seed(0)
    cell = cell_class(rows, cols).double()
    nn.init.normal_(cell.bias)
    x = torch.randn(batch, rows, cols, dtype=torch.float64)
    return cell, x, cell.seed_state(torch.randn(batch, rows, cols, dtype=torch.float64))


def test_matrix_lstm_is_an_lstm_cell_on_columns():
    cell, x, state = cell_and_input(MatrixLSTM)
    state = state._replace(cell=torch.randn_like(state.weight))
    y, after = cell.step(x, state)
    order = [1, 0, 3, 2]  # ours f, i, o, g; torch's i, f, g, o
    peer = nn.LSTMCell(4, 4).double()
    for col in range(3):
        with torch.no_grad():
            peer.weight_ih.copy_(cell.of_input[order].flatten(0, 1))
            peer.weight_hh.copy_(cell.of_weight[order].flatten(0, 1))
            peer.bias_ih.copy_(cell.bias[order][..., col].flatten())
            peer.bias_hh.zero_()
        before = (state.weight[..., col], state.cell[..., col])
        w, c = peer(x[..., col], before)
        torch.testing.assert_close(y[..., col], w, rtol=0, atol=1e-12)
        torch.testing.assert_close(after.cell[..., col], c, rtol=0, atol=1e-12)


def test_matrix_gru_by_hand():
    """Not torch's: reset before the hidden product, update gate the other way round."""
    cell, x, state = cell_and_input(MatrixGRU)
    y, _ = cell.step(x, state)
    for row in range(2):
        big_x, w = x[row], state.weight[row]
        (u_z, u_r, u_n), (v_z, v_r, v_n), (b_z, b_r, b_n) = cell.of_input, cell.of_weight, cell.bias
        z = 1 / (1 + torch.exp(-(u_z @ big_x + v_z @ w + b_z)))
        r = 1 / (1 + torch.exp(-(u_r @ big_x + v_r @ w + b_r)))
        n = torch.tanh(u_n @ big_x + v_n @ (r * w) + b_n)
        torch.testing.assert_close(y[row], (1 - z) * w + z * n, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell_class", [MatrixGRU, MatrixLSTM])
def test_the_first_weight_is_learned(cell_class):
    cell, x, _ = cell_and_input(cell_class)
    assert cell.initial.abs().max() <= 3**-0.5 and cell_class(4, 3).bias.abs().max() == 0
    y, _ = cell(x[:, None].expand(-1, 3, -1, -1))
    (grad,) = torch.autograd.grad(y[:, -1].sum(), cell.initial)
    assert grad.abs().min() > 0
    state = cell.init_state(5)
    _, after = cell.step(state.weight, state)  # EvolveGCN-O: its own weight is the input
    assert after.weight.shape == (5, 4, 3) and torch.equal(cell.readout(after), after.weight)


def test_summary_of_nodes():
    nodes = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], requires_grad=True)
    score = torch.tensor([2.0, 0.0])
    top = summarise(nodes, score, 2)
    expected = torch.tensor([[2.0, 0.0], [1.0, 5.0]]) * torch.tensor([[2.0], [1.0]]).tanh()
    torch.testing.assert_close(top, expected)
    torch.testing.assert_close(summarise(nodes, score, 5)[2:], torch.zeros(3, 2))
    assert torch.autograd.grad(top.sum(), nodes)[0][1:].abs().min() > 0
    with pytest.raises(ValueError, match="at least one node"):
        summarise(nodes[:0], score, 2)


@pytest.mark.parametrize("cell_class", [MatrixGRU, MatrixLSTM])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_steps_on_itself_equal_the_loop_of_steps(cell_class, batch, count):
    cell, _, state = cell_and_input(cell_class, batch=batch)
    state = type(state)(*(part.detach().requires_grad_() for part in state))
    looped = state
    for _ in range(count):
        _, looped = cell.step(looped.weight, looped)
    factors = torch.linspace(-1, 2, 12 * batch, dtype=torch.float64).reshape(batch, 4, 3)
    wanted = [*cell.parameters(), *state]
    expected = torch.autograd.grad((looped.weight * factors).sum(), wanted, allow_unused=True)
    found = cell.self_steps(state, count)
    for one, other in zip(found, looped, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    grads = torch.autograd.grad((found.weight * factors).sum(), wanted, allow_unused=True)
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_gradients_of_steps_on_itself():
    cell, _, state = cell_and_input(MatrixGRU, batch=1)
    weight = state.weight.detach().requires_grad_()
    parameters = tuple(cell.parameters())
    assert torch.autograd.gradcheck(
        lambda weight, *_: cell.self_steps(cell.seed_state(weight), 3).weight,
        (weight, *parameters),
    )
