"""One step of the gated recurrences, gate by gate, in torch's layout of the weights.

x [batch, inputs], h and c [batch, hidden], weights [gates * hidden, inputs or hidden].
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

Kind = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]
NUM_GATES: dict[Kind, int] = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


class LayerWeights(NamedTuple):
    """Weights of one layer in one direction."""

    input: Float[Tensor, "gates_hidden inputs"]
    """W."""
    hidden: Float[Tensor, "gates_hidden hidden"]
    """U."""
    input_bias: Float[Tensor, " gates_hidden"]
    """b."""
    hidden_bias: Float[Tensor, " gates_hidden"]
    """c."""


def rnn_cell(
    x: Float[Tensor, "batch inputs"],
    h: Float[Tensor, "batch hidden"],
    weights: LayerWeights,
    *,
    relu: bool = False,
) -> Float[Tensor, "batch hidden"]:
    """h' = f(W x + b + U h + c), f tanh or ReLU."""
    total = linear(x, weights.input, weights.input_bias) + linear(
        h, weights.hidden, weights.hidden_bias
    )
    return torch.relu(total) if relu else torch.tanh(total)


def gru_cell(
    x: Float[Tensor, "batch inputs"],
    h: Float[Tensor, "batch hidden"],
    weights: LayerWeights,
    *,
    recurrent: Float[Tensor, "batch hidden"] | None = None,
) -> Float[Tensor, "batch hidden"]:
    """h' = (1 - z) n + z h with n = tanh(W_n x + b_n + r (U_n h + c_n)); gates ordered r, z, n.

    Args:
        x: Input.
        h: State.
        weights: Of the layer.
        recurrent: What the gates see of the state; none = the state.
    """
    seen = h if recurrent is None else recurrent
    of_x = linear(x, weights.input, weights.input_bias).chunk(3, dim=-1)
    of_h = linear(seen, weights.hidden, weights.hidden_bias).chunk(3, dim=-1)
    r = torch.sigmoid(of_x[0] + of_h[0])
    z = torch.sigmoid(of_x[1] + of_h[1])
    n = torch.tanh(of_x[2] + r * of_h[2])
    return (1 - z) * n + z * h


def lstm_cell(
    x: Float[Tensor, "batch inputs"],
    h: Float[Tensor, "batch hidden"],
    c: Float[Tensor, "batch hidden"],
    weights: LayerWeights,
) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
    """c' = f c + i g, h' = o tanh(c'); gates in the order i, f, g, o.

    Returns:
        h' and c'.
    """
    total = linear(x, weights.input, weights.input_bias) + linear(
        h, weights.hidden, weights.hidden_bias
    )
    i, f, g, o = total.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
