"""EvolveGCN, equation by equation: dense float64 loops that any implementation is held against.

Parameters are plain tensors in dictionaries. A layer of width r to c has its initial weight `W_0`
[r, c], for -H the scorer `p` [r], and for every gate g of its cell `W_g`, `U_g` [r, r] and `B_g`
[r, c]; a GRU has the gates Z, R, H, an LSTM F, I, O, C. Autograd gives the gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor]


class Run(NamedTuple):
    """What a sequence gives."""

    outputs: list[Tensor]
    """Embeddings H_t [nodes, width] of every step."""
    weights: list[list[Tensor]]
    """Evolved weight W_t of every step and layer."""


def stacked_gates(
    names: str, of_input: Tensor, of_weight: Tensor, bias: Tensor, **rest: Tensor
) -> Parameters:
    """Parameters of a layer from gates that are stacked in the order of `names`, such as "ZRH"."""
    layer = dict(rest)
    for name, W, U, B in zip(names, of_input, of_weight, bias, strict=True):
        layer |= {f"W_{name}": W, f"U_{name}": U, f"B_{name}": B}
    return layer


def random_layer(
    rows: int, cols: int, gates: str, *, scorer: bool = False, seed: int = 0
) -> Parameters:
    """Parameters of order one that require gradients."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    layer = {"W_0": drawn(rows, cols)} | ({"p": drawn(rows)} if scorer else {})
    for gate in gates:
        layer |= {f"W_{gate}": drawn(rows, rows), f"U_{gate}": drawn(rows, rows)}
        layer[f"B_{gate}"] = drawn(rows, cols)
    return layer


def matrix_gru(X: Tensor, Q: Tensor, p: Parameters) -> Tensor:
    """g(X, Q), column by column."""
    columns = []
    for j in range(Q.shape[1]):
        x, q = X[:, j], Q[:, j]
        z = torch.sigmoid(p["W_Z"] @ x + p["U_Z"] @ q + p["B_Z"][:, j])
        r = torch.sigmoid(p["W_R"] @ x + p["U_R"] @ q + p["B_R"][:, j])
        t = torch.tanh(p["W_H"] @ x + p["U_H"] @ (r * q) + p["B_H"][:, j])
        columns.append((1 - z) * q + z * t)
    return torch.stack(columns, 1)


def matrix_lstm(X: Tensor, Q: Tensor, C: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    """Output and cell state after one step with input X, output Q and cell state C."""
    outputs, cells = [], []
    for j in range(Q.shape[1]):

        def gate(name: str, j: int = j) -> Tensor:
            return p[f"W_{name}"] @ X[:, j] + p[f"U_{name}"] @ Q[:, j] + p[f"B_{name}"][:, j]

        f, i, o = (torch.sigmoid(gate(name)) for name in "FIO")
        cells.append(f * C[:, j] + i * torch.tanh(gate("C")))
        outputs.append(o * torch.tanh(cells[-1]))
    return torch.stack(outputs, 1), torch.stack(cells, 1)


def summarize(H: Tensor, p: Tensor, k: int, mask: Sequence[bool] | None = None) -> Tensor:
    """k rows of H of the highest y = H p / |p|, each times tanh(y), highest first.

    Args:
        H: Embeddings [nodes, width].
        p: Scorer [width].
        k: Rows to return; where there are fewer, the last one repeats, where none, all are 0.
        mask: Nodes that may be chosen; none = all. Ties go to the lower number.
    """
    y = [h @ p / p.norm() for h in H]
    chosen = [i for i in range(len(H)) if mask is None or mask[i]]
    chosen.sort(key=lambda i: -y[i].item())  # stable
    chosen = chosen[:k]
    if not chosen:
        return H.new_zeros(k, H.shape[1])
    chosen += [chosen[-1]] * (k - len(chosen))
    return torch.stack([H[i] * torch.tanh(y[i]) for i in chosen])


def normalised_adjacency(num_nodes: int, edges: Sequence[Sequence[float]]) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of directed edges (source, target[, weight]); parallel ones add up."""
    A = torch.eye(num_nodes, dtype=torch.float64)
    for u, v, *weight in edges:
        A[int(u), int(v)] += weight[0] if weight else 1.0
    D = [float(sum(A[u])) for u in range(num_nodes)]
    for u in range(num_nodes):
        for v in range(num_nodes):
            A[u, v] /= (D[u] * D[v]) ** 0.5
    return A


def one_hot_degrees(num_nodes: int, edges: Sequence[Sequence[float]], width: int) -> Tensor:
    """One-hot of the number of distinct targets, larger ones in the last column."""
    X = torch.zeros(num_nodes, width, dtype=torch.float64)
    for u in range(num_nodes):
        degree = len({int(edge[1]) for edge in edges if int(edge[0]) == u})
        X[u, min(degree, width - 1)] = 1
    return X


def nodes_with_edges(num_nodes: int, edges: Sequence[Sequence[float]]) -> list[bool]:
    """Whether an edge begins or ends at a node."""
    ends = {int(end) for edge in edges for end in edge[:2]}
    return [u in ends for u in range(num_nodes)]


def identity(x: Tensor) -> Tensor:
    """The paper's last layer."""
    return x


def rrelu_in_eval(x: Tensor) -> Tensor:
    """RReLU(1/8, 1/3) in evaluation: slope 11/48 below zero."""
    return torch.where(x >= 0, x, x * 11 / 48)


def evolvegcn(
    kind: str,
    cell: str,
    layers: Sequence[Parameters],
    adjacencies: Sequence[Tensor],
    features: Sequence[Tensor],
    *,
    state: str = "carry",
    context: int = 10,
    activations: Sequence[Activation] | None = None,
    masks: Sequence[Sequence[bool]] | None = None,
    skip_features: bool = False,
) -> Run:
    """EvolveGCN over a sequence.

    Args:
        kind: "h" or "o".
        cell: "gru" or "lstm".
        layers: Parameters, first layer first.
        adjacencies: Normalised adjacency of every step.
        features: X_t of every step.
        state: "carry" = one recurrence along all steps; "window" = for every step t from W_0 again,
            over steps t - context .. t (from step 0 where t < context).
        context: Of the window.
        activations: One for each layer; none = ReLU, the last the identity.
        masks: Nodes of every step that -H may choose; none = all.
        skip_features: Append X_t to the output.
    """
    steps = list(zip(adjacencies, features, masks or [None] * len(features), strict=True))
    activations = activations or [torch.relu] * (len(layers) - 1) + [identity]
    if state == "carry":
        outputs, weights = _one_recurrence(kind, cell, layers, steps, activations)
    else:
        outputs, weights = [], []
        for t in range(len(steps)):
            window = steps[max(0, t - context) : t + 1]
            H, W = _one_recurrence(kind, cell, layers, window, activations)
            outputs.append(H[-1])
            weights.append(W[-1])
    if skip_features:
        outputs = [torch.cat([H, X], 1) for H, X in zip(outputs, features, strict=True)]
    return Run(outputs, weights)


def _one_recurrence(
    kind: str,
    cell: str,
    layers: Sequence[Parameters],
    steps: Sequence[tuple[Any, ...]],
    activations: Sequence[Activation],
) -> Run:
    W = [p["W_0"] for p in layers]
    C = [torch.zeros_like(p["W_0"]) for p in layers]
    outputs, weights = [], []
    for A_hat, H, mask in steps:
        for layer, (p, act) in enumerate(zip(layers, activations, strict=True)):
            Q = W[layer]
            X = summarize(H, p["p"], Q.shape[1], mask).T if kind == "h" else Q
            if cell == "gru":
                W[layer] = matrix_gru(X, Q, p)
            else:
                W[layer], C[layer] = matrix_lstm(X, Q, C[layer], p)
            H = act(A_hat @ H @ W[layer])
        outputs.append(H)
        weights.append(list(W))
    return Run(outputs, weights)


def ibm_compat(
    kind: str,
    layers: Sequence[Parameters],
    graphs: Sequence[Sequence[Sequence[float]]],
    features: Sequence[Tensor],
    *,
    context: int,
) -> Run:
    """The released code in evaluation: GRU, window, RReLU on every layer, nodes without edges out.

    Args:
        kind: "h" or "o".
        layers: Parameters, first layer first.
        graphs: Directed edges of every step.
        features: X_t of every step.
        context: Steps before each.
    """
    num_nodes = len(features[0])
    return evolvegcn(
        kind, "gru", layers,
        [normalised_adjacency(num_nodes, edges) for edges in graphs], features,
        state="window", context=context, activations=[rrelu_in_eval] * len(layers),
        masks=[nodes_with_edges(num_nodes, edges) for edges in graphs],
    )  # fmt: skip


def decoder(H: Tensor, pairs: Sequence[tuple[int, int]], p: Parameters) -> Tensor:
    """Logits [pairs, 2] of concat(h_u, h_v): weights as in Linear, `W_1` [m, 2h] and `W_2` [2, m],
    biases `b_1`, `b_2`."""
    rows = []
    for u, v in pairs:
        hidden = torch.relu(p["W_1"] @ torch.cat([H[u], H[v]]) + p["b_1"])
        rows.append(p["W_2"] @ hidden + p["b_2"])
    return torch.stack(rows)


def weighted_loss(
    logits: Tensor, labels: Sequence[int], alpha: Sequence[float], *, norm: str = "count"
) -> Tensor:
    """Sum of alpha_y CE over the samples, by their number or (norm "weights") by their alpha."""
    total = torch.zeros((), dtype=logits.dtype)
    for row, y in zip(logits, labels, strict=True):
        total = total - alpha[y] * torch.log(torch.exp(row[y]) / torch.exp(row).sum())
    return total / (len(labels) if norm == "count" else sum(alpha[y] for y in labels))
