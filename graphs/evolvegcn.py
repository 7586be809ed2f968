"""EvolveGCN (Pareja et al., AAAI 2020, arXiv 1902.10191): graph convolutions whose weights evolve.

`h_dim` and the node set may differ from step to step: no parameter depends on the number of nodes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphs.evolving_convolution import EvolvingConvolution
from graphs.inputs import GraphInput
from graphs.model_config import ModelConfig

State = tuple[Any, ...]
"""One state a layer: its weight [1, in, out], and what else its cell keeps."""


class LayerList(nn.ModuleList):
    """The layers, first to last."""

    def __iter__(self) -> "Iterator[EvolvingConvolution]":
        return cast("Iterator[EvolvingConvolution]", super().__iter__())


class EvolveGCN(nn.Module):
    """Embeddings of the nodes after a sequence of snapshots.

    At every step each layer first evolves its weight, then convolves: the first step included.

    - `version="h"`: the weight sees the nodes, so earlier graphs reach later weights.
    - `version="o"`: the weight evolves by itself. Run over windows from W_0, as the released code
      does, the output depends on the last snapshot alone: the context changes nothing, and the
      model is a static GCN in other parameters. With a carried state W_t differs from step to step
      (each is trained on its step), yet for fixed parameters it is a function of t alone and tends
      to a fixed point: earlier graphs never reach the output.
    - `version="static"`: one weight a layer, the paper's GCN.

    Args:
        config: Version, cell, sizes, activations.
        in_dim: Width of the features.
    """

    def __init__(self, config: ModelConfig, in_dim: int) -> None:
        super().__init__()
        self.config, self.in_dim = config, in_dim
        widths = [in_dim] + [config.hidden_dim] * config.num_layers
        last = config.num_layers - 1
        self.layers = LayerList(
            EvolvingConvolution(
                config, widths[place], widths[place + 1],
                activation=config.last_activation if place == last else config.activation,
            )
            for place in range(config.num_layers)
        )  # fmt: skip
        self.output_dim = config.hidden_dim + (in_dim if config.skip_features else 0)

    def init_state(self, num_nodes: int = 0) -> State:
        """W_0 of every layer, whatever the number of nodes; gradient reaches it."""
        return tuple(layer.evolution.init_state() for layer in self.layers)

    def forward(
        self, steps: Sequence[GraphInput], state: State | None = None
    ) -> tuple[Float[Tensor, "nodes output_dim"], State]:
        """Embeddings after the last step, and the state to go on with.

        What no output and no later weight needs is left out: with -O all but the last step are
        evolutions of weights alone, with -H the last layer convolves once.

        Args:
            steps: In the order of time, at least one.
            state: After the steps before; none = `init_state`. Nothing is kept on the module.

        Raises:
            ValueError: No step.
        """
        if not steps:
            raise ValueError("forward needs at least one step, got none")
        state = self.init_state() if state is None else state
        shared = [layer.prepare() for layer in self.layers]
        if self.config.version == "h":
            for step in steps[:-1]:
                _, state = self._step(step, state, shared, output=False)
            return self._step(steps[-1], state, shared, output=True)
        state = tuple(
            layer.evolution.evolve_alone(own, len(steps), of_layer)
            for layer, own, of_layer in zip(self.layers, state, shared, strict=True)
        )
        features: Any = steps[-1].features
        for layer, own in zip(self.layers, state, strict=True):
            features = layer.convolve(steps[-1], features, own.weight[0])
        return self._skip(steps[-1], features), state

    def every_step(
        self, steps: Sequence[GraphInput], state: State | None = None
    ) -> tuple[list[Float[Tensor, "nodes output_dim"]], State]:
        """As `forward`, with the embeddings after each step."""
        state = self.init_state() if state is None else state
        shared = [layer.prepare() for layer in self.layers]
        embeddings = []
        for step in steps:
            embedding, state = self._step(step, state, shared, output=True)
            embeddings.append(embedding)
        return embeddings, state

    def _step(
        self, step: GraphInput, state: State, shared: list[Any], *, output: bool
    ) -> tuple[Any, State]:
        features: Any = step.features
        evolved = []
        for place, (layer, own) in enumerate(zip(self.layers, state, strict=True)):
            own = layer.evolve(own, step, features, shared[place])
            evolved.append(own)
            if output or place + 1 < len(self.layers):
                features = layer.convolve(step, features, own.weight[0])
        return (self._skip(step, features) if output else None), tuple(evolved)

    def _skip(self, step: GraphInput, features: Tensor) -> Tensor:
        """With the input's features beside them, where these skip the layers."""
        if not self.config.skip_features:
            return features
        return torch.cat([features, step.dense_features.to(features.dtype)], dim=1)
