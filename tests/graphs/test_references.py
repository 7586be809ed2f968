"""The references against numbers computed by hand."""

import math

import pytest
import torch
from references import (
    decoder,
    evolvegcn,
    ibm_compat,
    matrix_gru,
    matrix_lstm,
    nodes_with_edges,
    normalised_adjacency,
    one_hot_degrees,
    random_layer,
    rrelu_in_eval,
    stacked_gates,
    summarize,
    weighted_loss,
)

LN3 = math.log(3)
"""sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4, tanh(ln(3) / 2) = 1/2."""


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(got, wanted):
    torch.testing.assert_close(got, f64(wanted), rtol=1e-14, atol=1e-15)


def zero_layer(gates, rows, cols, **given):
    """All gates zero but the given entries."""
    layer = {}
    for gate in gates:
        layer |= {f"{part}_{gate}": torch.zeros(rows, rows).double() for part in "WU"}
        layer[f"B_{gate}"] = torch.zeros(rows, cols).double()
    return layer | {name: f64(value) for name, value in given.items()}


def test_matrix_gru_by_hand():
    p = zero_layer("ZRH", 1, 1, W_Z=[[LN3]], B_R=[[-LN3]], U_H=[[LN3]])
    # Z = 3/4, R = 1/4, T = tanh(ln 3 (1/4) 2) = 1/2
    close(matrix_gru(f64([[1.0]]), f64([[2.0]]), p), [[0.25 * 2 + 0.75 * 0.5]])


def test_matrix_gru_multiplies_columns_from_the_left():
    p = zero_layer("ZRH", 2, 1, B_Z=[[LN3], [LN3]], W_H=[[0.0, LN3 / 2], [0.0, 0.0]])
    close(matrix_gru(f64([[0.0], [1.0]]), torch.zeros(2, 1).double(), p), [[0.375], [0.0]])


def test_columns_do_not_mix():
    p = random_layer(2, 3, "ZRH")
    X, Q = torch.randn(2, 2, 3, dtype=torch.float64)
    swapped = p | {name: value[:, [2, 0, 1]] for name, value in p.items() if name[:2] == "B_"}
    torch.testing.assert_close(
        matrix_gru(X[:, [2, 0, 1]], Q[:, [2, 0, 1]], swapped), matrix_gru(X, Q, p)[:, [2, 0, 1]]
    )


def test_matrix_lstm_by_hand():
    p = zero_layer("FIOC", 1, 1, W_F=[[LN3]], B_I=[[-LN3]], U_O=[[LN3 / 2]], B_C=[[LN3 / 2]])
    # F = 3/4, I = 1/4, O = sigmoid(2 ln(3) / 2) = 3/4, G = 1/2
    W, C = matrix_lstm(f64([[1.0]]), f64([[2.0]]), f64([[2.0]]), p)
    close(C, [[1.625]])
    close(W, [[0.75 * math.tanh(1.625)]])


def test_summarize_scales_the_best_rows_and_repeats_the_last():
    H, p = f64([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), f64([0.0, 2.0])  # y = 0, 1, 2
    one, two = math.tanh(1), 2 * math.tanh(2)
    close(summarize(H, p, 2), [[0.0, two], [one, one]])
    close(summarize(H, p, 4), [[0.0, two], [one, one], [0.0, 0.0], [0.0, 0.0]])
    close(summarize(H, p, 2, [True, True, False]), [[one, one], [0.0, 0.0]])
    close(summarize(H, p, 3, [False, True, False]), [[one, one]] * 3)
    close(summarize(H, p, 2, [False] * 3), [[0.0, 0.0]] * 2)


def test_adjacency_by_hand():
    third = 1 / 3
    close(
        normalised_adjacency(3, [(0, 1), (0, 1), (1, 0, 2.0)]),
        [[third, 2 * third, 0.0], [2 * third, third, 0.0], [0.0, 0.0, 1.0]],
    )
    # A + I = [[3, 1], [1, 1]], row sums 4 and 2
    between = 1 / math.sqrt(8)
    close(normalised_adjacency(2, [(0, 0, 2.0), (0, 1), (1, 0)]), [[0.75, between], [between, 0.5]])


def test_degrees_and_active_nodes_by_hand():
    edges = [(0, 1), (0, 1), (0, 2), (2, 0)]
    close(one_hot_degrees(4, edges, 3), [[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0]])
    close(one_hot_degrees(4, edges, 2), [[0, 1.0], [1.0, 0], [0, 1.0], [1.0, 0]])
    assert nodes_with_edges(4, edges) == [True, True, True, False]


def test_o_with_zero_gates_halves_its_weight_before_every_step():
    layer = zero_layer("ZRH", 1, 1, W_0=[[8.0]])
    ones = [f64([[1.0]])] * 4
    carried = evolvegcn("o", "gru", [layer], ones, ones)
    assert [H.item() for H in carried.outputs] == [4.0, 2.0, 1.0, 0.5]
    assert [W[0].item() for W in carried.weights] == [4.0, 2.0, 1.0, 0.5]
    window = evolvegcn("o", "gru", [layer], ones, ones, state="window", context=1)
    assert [H.item() for H in window.outputs] == [4.0, 2.0, 2.0, 2.0]


def test_o_of_the_paper_carries_the_cell_state():
    layer = zero_layer("FIOC", 1, 1, B_C=[[LN3 / 2]], W_0=[[0.3]])  # F = I = O = G = 1/2
    ones = [f64([[1.0]])] * 2
    cells = (0.25, 0.375)
    for H, C in zip(evolvegcn("o", "lstm", [layer], ones, ones).outputs, cells, strict=True):
        close(H, [[0.5 * math.tanh(C)]])


def test_h_by_hand():
    layer = zero_layer("ZRH", 1, 1, B_Z=[[LN3]], W_H=[[1.0]], W_0=[[0.4]], p=[-3.0])
    one, x = [f64([[1.0]])], [f64([[2.0]])]  # y = -2
    W = 0.25 * 0.4 + 0.75 * math.tanh(2 * math.tanh(-2))
    run = evolvegcn("h", "gru", [layer], one, x)
    close(run.weights[0][0], [[W]])
    close(run.outputs[0], [[2 * W]])
    hidden = evolvegcn("h", "gru", [layer], one, x, activations=[torch.relu], skip_features=True)
    close(hidden.outputs[0], [[0.0, 2.0]])


def test_two_layers_have_relu_between_and_nothing_after():
    first = zero_layer("ZRH", 1, 2, W_0=[[2.0, -2.0]])
    second = zero_layer("ZRH", 2, 1, W_0=[[-6.0], [50.0]])
    one = [f64([[1.0]])]
    assert evolvegcn("o", "gru", [first, second], one, one).outputs[0].item() == -3.0


def test_ibm_compat_by_hand():
    close(rrelu_in_eval(f64([2.0, -48.0])), [2.0, -11.0])
    first = zero_layer("ZRH", 1, 1, W_0=[[2.0]])
    second = zero_layer("ZRH", 1, 1, W_0=[[-2.0]])
    loop = [(0, 0), (0, 0)]  # alone: the row of the adjacency is 1
    run = ibm_compat("o", [first, second], [loop] * 3, [f64([[3.0]])] * 3, context=1)
    # weights +-1 after one evolution, +-1/2 after two
    wanted = [-3 * 11 / 48, *[-0.75 * 11 / 48] * 2]
    for H, value in zip(run.outputs, wanted, strict=True):
        close(H, [[value]])


def test_ibm_compat_chooses_among_nodes_with_edges():
    layer = zero_layer("ZRH", 1, 1, B_Z=[[LN3]], W_H=[[1.0]], W_0=[[0.0]], p=[1.0])
    features = [f64([[1.0], [1.0], [9.0]])]  # node 2 scores highest and has no edge
    W = ibm_compat("h", [layer], [[(0, 1), (1, 0)]], features, context=3).weights[0][0]
    close(W, [[0.75 * math.tanh(math.tanh(1))]])


@pytest.mark.parametrize("kind", ["o", "h"])
def test_a_window_of_o_alone_ignores_its_context(kind):
    torch.manual_seed(0)
    layers = [
        random_layer(3, 2, "ZRH", scorer=True),
        random_layer(2, 2, "ZRH", scorer=True, seed=1),
    ]
    features = list(torch.rand(4, 5, 3, dtype=torch.float64))
    adjacency = normalised_adjacency(5, [(0, 1), (1, 0), (2, 4), (4, 2)])
    changed = [torch.rand_like(features[0]), *features[1:]]
    H, other = (
        evolvegcn(kind, "gru", layers, [adjacency] * 4, x, state="window", context=3).outputs[-1]
        for x in (features, changed)
    )
    assert torch.equal(H, other) == (kind == "o")


@pytest.mark.parametrize(("kind", "cell"), [("h", "gru"), ("o", "gru"), ("o", "lstm")])
def test_gradients_agree_with_differences(kind, cell):
    layer = random_layer(3, 2, "ZRH" if cell == "gru" else "FIOC", scorer=kind == "h")
    adjacency = normalised_adjacency(4, [(0, 1), (1, 0), (2, 2)])
    features = list(torch.randn(2, 4, 3, dtype=torch.float64))

    def run(*values):
        given = dict(zip(layer, values, strict=True))
        return torch.stack(evolvegcn(kind, cell, [given], [adjacency] * 2, features).outputs)

    assert torch.autograd.gradcheck(run, tuple(layer.values()))


def test_stacked_gates_are_named_in_order():
    stack = torch.arange(3.0).reshape(3, 1, 1)
    layer = stacked_gates("ZRH", stack, stack + 10, stack + 20, W_0=stack[0])
    assert [layer[name].item() for name in ("W_Z", "U_R", "B_H", "W_0")] == [0.0, 11.0, 22.0, 0.0]


def test_decoder_by_hand():
    p = {
        "W_1": f64([[1.0, 10.0], [-1.0, 0.0]]),
        "b_1": f64([0.0, 2.5]),
        "W_2": f64([[1.0, 0.0], [0.0, 2.0]]),
        "b_2": f64([0.0, 1.0]),
    }
    close(decoder(f64([[1.0], [3.0]]), [(0, 1), (1, 0)], p), [[31.0, 4.0], [13.0, 1.0]])


def test_loss_is_divided_by_the_number_of_samples_not_by_their_weights():
    logits, labels, alpha = f64([[0.0, LN3], [0.0, LN3]]), [1, 0], [0.2, 0.7]
    total = -0.7 * math.log(0.75) - 0.2 * math.log(0.25)
    close(weighted_loss(logits, labels, alpha), total / 2)
    close(weighted_loss(logits, labels, alpha, norm="weights"), total / 0.9)
    stock = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), weight=f64(alpha))
    close(stock, total / 0.9)
