"""Recurrent layers wired by a graph: worked out by hand, and masks that hold under training."""

import copy
import pickle

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from foretell.blocks.protocol import state_numel
from foretell.blocks.random_graph import gate_mask, graph_from_edges, layered_graph
from foretell.blocks.recurrent import GRU, LSTM
from foretell.blocks.sparse_recurrent import CELLS, SparseRecurrent

GRAPH = graph_from_edges(5, [(0, 2), (0, 3), (1, 3), (2, 4), (1, 4)])
"""Layers (0, 1), (2, 3), (4,); one skip, from 1 to 4; 1 -> 2, 3 -> 4 and 0 -> 4 are missing."""


def with_constants(block, hidden):
    """Every input weight 1, the first layer's the identity; hidden weights `hidden`, no biases."""
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            value = 1.0 if "weight_ih" in name else hidden if "weight_hh" in name else 0.0
            parameter.fill_(value)
        block.layers[0].core.weight_ih_l0.copy_(torch.eye(2))
    return block


def masked_weights(block):
    """(effective weight, parameter behind it, mask) of every masked matrix."""
    graph = block.graph
    masks = [*graph.masks, *(skip.mask for skip in graph.skips)]
    for layer, mask in zip([*block.layers[1:], *block.skips], masks, strict=True):
        raw = layer.core.parametrizations.weight_ih_l0.original
        edges = gate_mask(mask, len(raw) // layer.hidden_dim)
        yield layer.core.weight_ih_l0, raw, edges


def test_by_hand():
    """Step 0: (3, 5) -> nodes 2 = 3 and 3 = 8 -> 3, and 5 by the skip: 8. Step 1 remembers half.

    Step 1: layer 0 = (1, 0) + (3 + 5) / 2 = (5, 4); node 2 = 5 + (3 + 8) / 2 = 10.5 and node 3 =
    5 + 4 + 5.5; node 4 = 10.5 + 3 / 2 = 12, the skip 4 + 5 / 2 = 6.5, together 18.5.
    """
    block = with_constants(SparseRecurrent(2, GRAPH, cell="rnn_relu"), 0.5)
    y, state = block(torch.tensor([[[3.0, 5], [1, 0]]]))
    assert y.tolist() == [[[8.0], [18.5]]]
    assert [layer.h.flatten().tolist() for layer in state.layers] == [[5, 4], [10.5, 14.5], [12]]
    assert [skip.h.flatten().tolist() for skip in state.skips] == [[6.5]]
    assert block.readout(state).tolist() == [[18.5]]


def test_a_graph_without_edges_is_one_layer():
    torch.manual_seed(0)
    block, x = SparseRecurrent(3, graph_from_edges(4, []), cell="lstm"), torch.randn(2, 7, 3)
    layer = LSTM(3, 4)
    layer.load_state_dict(block.layers[0].state_dict())
    assert not block.skips and torch.equal(block(x)[0], layer(x)[0])


def test_complete_neighbours_are_a_stack():
    torch.manual_seed(0)
    block, x = SparseRecurrent(3, graph_from_edges(3, [(0, 1), (1, 2)])), torch.randn(2, 7, 3)
    y = x
    for layer in block.layers:
        plain = GRU(layer.input_dim, 1)
        with torch.no_grad():
            for name, parameter in plain.core.named_parameters():
                parameter.copy_(getattr(layer.core, name))
        y, _ = plain(y)
    torch.testing.assert_close(block(x)[0], y)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_masks_hold_under_training(cell, decay):
    torch.manual_seed(0)
    block = SparseRecurrent(3, GRAPH, cell=cell)
    for name, parameter in block.named_parameters():
        if "bias" in name:
            nn.init.constant_(parameter, 0.5)  # no ReLU is silent
    optimizer = torch.optim.Adam(block.parameters(), 0.02, weight_decay=decay)
    x, target = torch.randn(4, 6, 3), torch.randn(4, 6, 1)
    before = [weight.detach().clone() for weight, _, _ in masked_weights(block)]
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(block(x)[0], target).backward()
        for _, raw, mask in masked_weights(block):
            assert torch.count_nonzero(raw.grad[~mask]) == 0
            assert torch.count_nonzero(raw.grad[mask]) > 0
        optimizer.step()
    missing = 0
    for (weight, _, mask), old in zip(masked_weights(block), before, strict=True):
        assert torch.count_nonzero(weight[~mask]) == 0 and not torch.equal(weight, old)
        missing += int((~mask).sum())
    assert missing == 3 * CELLS[cell](1, 1).core.weight_ih_l0.numel()
    block.reset_parameters()
    assert all(torch.count_nonzero(w[~mask]) == 0 for w, _, mask in masked_weights(block))


def test_copies_keep_weights_and_masks():
    torch.manual_seed(0)
    block, x = SparseRecurrent(3, GRAPH), torch.randn(2, 5, 3)
    y, _ = block(x)
    other = SparseRecurrent(3, GRAPH)
    other.load_state_dict(block.state_dict())
    for twin in (other, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(twin(x)[0], y)
        optimizer = torch.optim.Adam(twin.parameters(), 0.1, weight_decay=0.1)
        twin(x)[0].sum().backward()
        optimizer.step()
        assert all(torch.count_nonzero(w[~mask]) == 0 for w, _, mask in masked_weights(twin))
        assert not torch.equal(twin(x)[0], y)
    assert torch.equal(block(x)[0], y)


@pytest.mark.parametrize("kind", ["barabasi_albert", "watts_strogatz"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_random_graphs(kind, cell):
    torch.manual_seed(0)
    graph = layered_graph(kind, 20, seed=3)
    block = SparseRecurrent(4, graph, cell=cell)
    x = torch.randn(2, 3, 4, requires_grad=True)
    y, state = block(x, lengths=torch.tensor([3, 2]))
    assert y.shape == (2, 3, len(graph.layers[-1])) and graph.skips
    units = 20 + sum(len(skip.mask) for skip in graph.skips)
    assert state_numel(state) == 2 * units * (2 if cell == "lstm" else 1)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.count_nonzero(grad[0]) > 0 and torch.count_nonzero(grad[1, 2]) == 0


def test_a_seed_fills_every_state_and_gets_gradient():
    torch.manual_seed(0)
    block = SparseRecurrent(3, GRAPH, cell="lstm")
    h = torch.randn(2, 6, requires_grad=True)  # 2 + 2 + 1 units, 1 of the skip
    state = block.seed_state(h)
    parts = [own.h[:, 0] for own in (*state.layers, *state.skips)]
    assert torch.equal(torch.cat(parts, 1), h)
    assert not any(own.c.any() for own in (*state.layers, *state.skips))
    y, end = block(torch.zeros(2, 1, 3), state)
    torch.testing.assert_close(block.readout(end), y[:, 0])
    (grad,) = torch.autograd.grad(y.sum(), h)
    assert torch.isfinite(grad).all() and (grad != 0).all()


def test_wrong_options_are_named():
    with pytest.raises((ValueError, TypeCheckError), match="cell.*'cnn'"):
        SparseRecurrent(3, GRAPH, cell="cnn")
    with pytest.raises(ValueError, match="seed must have width 6, got 5"):
        SparseRecurrent(3, GRAPH).seed_state(torch.zeros(1, 5))
