"""Recurrent layers wired by a graph: worked out by hand, and masks that hold under training."""

import copy
import pickle

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from foretell.blocks.protocol import state_numel
from foretell.blocks.pruning import (
    apply_masks,
    kept_masks,
    magnitude_masks,
    pruned_percent,
    remove_masks,
)
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


def absent_edges(block):
    """How many absent edges there are, and how many of them are alive."""
    absent = [weight[~mask] for weight, _, mask in masked_weights(block)]
    return sum(map(len, absent)), sum(int(weights.count_nonzero()) for weights in absent)


def train(block, steps=3):
    optimizer = torch.optim.Adam(block.parameters(), 0.05, weight_decay=0.1)
    x = torch.randn(4, 6, 3)
    for _ in range(steps):
        optimizer.zero_grad()
        block(x)[0].square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("which", ["both", "ih"])
def test_pruning_never_brings_an_absent_edge_to_life(which):
    torch.manual_seed(0)
    block = SparseRecurrent(3, GRAPH)
    keys = set(block.state_dict())
    num_absent, _ = absent_edges(block)
    assert num_absent == 3 * 3  # of each of three gates
    apply_masks(block, magnitude_masks(block, 50, which=which))
    for change in (
        lambda: apply_masks(block, magnitude_masks(block, 0, which=which)),
        lambda: apply_masks(block, {n: m | True for n, m in kept_masks(block).items()}),
        lambda: apply_masks(block, magnitude_masks(block, 70, which=which)),
        lambda: remove_masks(block),
        lambda: remove_masks(block),
        block.reset_parameters,
    ):
        change()
        train(block)
        assert absent_edges(block) == (num_absent, 0)
    assert pruned_percent(block) == 0
    assert all(weight[mask].all() for weight, _, mask in masked_weights(block))
    assert set(block.state_dict()) == keys


def test_a_percent_of_the_edges_is_pruned():
    block = with_constants(SparseRecurrent(2, GRAPH, cell="rnn_relu"), 9.0)
    raws = [raw for _, raw, _ in masked_weights(block)]  # 1 of 4, 1 of 2, 1 of 2 edges missing
    with torch.no_grad():
        block.layers[0].core.weight_ih_l0.fill_(9.0)
        raws[0].copy_(torch.tensor([[1.0, 0.5], [2.0, 3.0]]))
        raws[1].copy_(torch.tensor([[4.0, 0.5]]))
        raws[2].copy_(torch.tensor([[0.5, 5.0]]))
    # 5 edges, 4 inputs and 4 + 4 + 1 + 1 hidden weights: the 20 % percentile of 19 is of rank 3.6.
    apply_masks(block, magnitude_masks(block, 20))
    weights = [weight.flatten().tolist() for weight, _, _ in masked_weights(block)]
    assert weights == [[0, 0, 0, 0], [0, 0], [0, 5]]
    assert pruned_percent(block) == pytest.approx(100 * 4 / 19)
    assert pruned_percent(block, which="hh") == 0
    apply_masks(block, magnitude_masks(block, 0))
    weights = [weight.flatten().tolist() for weight, _, _ in masked_weights(block)]
    assert weights == [[1, 0, 2, 3], [4, 0], [0, 5]]


def test_copies_of_a_pruned_block_keep_edges_and_pruned_weights():
    torch.manual_seed(0)
    block = SparseRecurrent(3, GRAPH)
    apply_masks(block, magnitude_masks(block, 60))
    other = SparseRecurrent(3, GRAPH)
    apply_masks(other, magnitude_masks(other, 0))
    other.load_state_dict(block.state_dict())
    share = pruned_percent(block)
    x = torch.randn(2, 5, 3)
    y = block(x)[0].detach()
    for twin in (other, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(twin(x)[0], y) and pruned_percent(twin) == share > 59
        train(twin)
        assert pruned_percent(twin) == share and absent_edges(twin)[1] == 0
        remove_masks(twin)
        train(twin)
        assert pruned_percent(twin) == 0 and absent_edges(twin)[1] == 0
    assert torch.equal(block(x)[0], y)


def test_a_state_dict_never_brings_an_absent_edge_to_life():
    torch.manual_seed(0)
    block = SparseRecurrent(3, GRAPH)
    state = block.state_dict()
    masks = {name: torch.ones_like(value) for name, value in state.items() if "mask" in name}
    block.load_state_dict(state | masks)
    train(block)
    assert absent_edges(block)[1] == 0


def test_edges_are_fixed_once():
    block = SparseRecurrent(3, GRAPH)
    edges = {"layers.1.core.weight_ih_l0": torch.ones(6, 2).bool()}
    with pytest.raises(ValueError, match="unmasked parameters if fixed, got 'layers.1.core"):
        apply_masks(block, edges, fixed=True)
