"""GCN-GRU, a baseline of the paper: one GCN for all steps, a GRU over each node's embeddings."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from foretell.blocks.recurrent import GRU
from graphs.evolvegcn import EvolveGCN
from graphs.inputs import GraphInput
from graphs.model_config import ModelConfig


class GcnGru(nn.Module):
    """Embeddings of the nodes after a sequence of snapshots of one node set.

    Args:
        config: Sizes and activations.
        in_dim: Width of the features.
    """

    def __init__(self, config: ModelConfig, in_dim: int) -> None:
        super().__init__()
        self.config, self.in_dim = config, in_dim
        self.gcn = EvolveGCN(config, in_dim)
        self.gru = GRU(self.gcn.output_dim, hidden_dim=config.hidden_dim)
        self.output_dim = config.hidden_dim

    def init_state(self, num_nodes: int) -> Any:
        """The GRU's first state of every node."""
        return self.gru.init_state(num_nodes)

    def forward(
        self, steps: Sequence[GraphInput], state: Any = None
    ) -> tuple[Float[Tensor, "nodes output_dim"], Any]:
        """Embeddings after the last step, and the GRU's state of every node."""
        embeddings, state = self.every_step(steps, state)
        return embeddings[-1], state

    def every_step(
        self, steps: Sequence[GraphInput], state: Any = None
    ) -> tuple[list[Float[Tensor, "nodes output_dim"]], Any]:
        """As `forward`, with the embeddings after each step."""
        convolved, _ = self.gcn.every_step(steps)
        if state is None:
            state = self.init_state(len(convolved[0]))
        embeddings = []
        for x in convolved:
            y, state = self.gru.step(x, state)
            embeddings.append(y)
        return embeddings, state
