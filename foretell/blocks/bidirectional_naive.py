"""Both directions of a recurrence as two loops: the oracle of the bidirectional blocks."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.blocks.recurrent import Recurrent


def bidirectional_naive(
    block: Recurrent, x: Float[Tensor, "batch time input_dim"], state: Any
) -> tuple[Float[Tensor, "batch time output_dim"], Any]:
    """Loop oracle of a bidirectional `Recurrent` in evaluation, layer by layer.

    Args:
        block: Gives kind and weights.
        x: Inputs; at least one step.
        state: Where both directions of every layer start, the second at the end of x.
    """
    ends = []
    for layer in range(block.num_layers):
        steps, directions = list(x.unbind(1)), []
        for direction in range(2):
            weights = block._weights(layer, direction, x.dtype)
            own = tuple(field[:, 2 * layer + direction] for field in state)
            seen = []
            for x_t in reversed(steps) if direction else steps:
                own = block._cell(x_t, own, weights)
                seen.append(own[0])
            directions.append(seen[::-1] if direction else seen)
            ends.append(own)
        pairs = zip(*directions, strict=True)
        x = torch.stack([torch.cat(pair, -1) for pair in pairs], 1)
    return x, type(state)(*(torch.stack(fields, 1) for fields in zip(*ends, strict=True)))
