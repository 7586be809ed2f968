"""What stands beside S2IP-LLM, so that its parts can be told apart.

The paper lacks ablations with a random or absent language model and with random anchors; others
found that neither hurts models of this kind (2406.16964, 2410.12326).
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.config import CHEAP_ABLATIONS, DEAR_ABLATIONS, Ablation
from forecasting.s2ip_config import AnchorConfig, S2ipConfig

ABLATIONS: tuple[Ablation, ...] = (*CHEAP_ABLATIONS, *DEAR_ABLATIONS)


def ablated(config: S2ipConfig, name: Ablation) -> S2ipConfig:
    """The configuration without one part; `shuffled` changes what is scored, not the model.

    Args:
        config: The whole model.
        name: none, attention, block, random = instead of the language model; random_anchors,
            no_prefix, no_decomposition.
    """
    match name:
        case "none" | "attention" | "block" | "random":
            return replace(config, backbone=replace(config.backbone, kind=name))
        case "random_anchors":
            return replace(config, anchors=AnchorConfig(map="gaussian", count=config.anchors.count))
        case "no_prefix":
            return replace(config, retrieved=0)
        case "no_decomposition":
            return replace(config, decomposition="none")
        case "shuffled":
            return config


class Shuffled(nn.Module):
    """A trained forecaster whose contexts are put out of order, all by one seeded permutation.

    Args:
        network: The forecaster.
        context: L.
    """

    def __init__(self, network: nn.Module, context: int) -> None:
        super().__init__()
        self.network = network
        order = torch.randperm(context, generator=torch.Generator().manual_seed(0))
        self.register_buffer("order", order, persistent=False)
        self.order: Tensor

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        found: Tensor = self.network(x[:, self.order])
        return found
