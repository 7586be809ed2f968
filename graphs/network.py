"""The whole network: embeddings of an evolving graph convolution, and the decoder of a task."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.model_folder import KeyReport, load_config, load_weights, save
from graphs.evolvegcn import EvolveGCN
from graphs.gcn_gru import GcnGru
from graphs.heads import NodeDecoder, PairDecoder
from graphs.model_config import FORMAT_VERSION, NetworkConfig
from graphs.structure import StructureStep, structure_widths


class GraphNetwork(nn.Module):
    """EvolveGCN, GCN, GCN-GRU or no embedding at all, then the decoder.

    Args:
        config: Task, sizes, and how features are made.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedder: EvolveGCN | GcnGru | None = None
        if config.structure.embedding:
            kind = GcnGru if config.model.version == "gcn_gru" else EvolveGCN
            self.embedder = kind(config.model, config.feature_dim)
        width = 0 if self.embedder is None else self.embedder.output_dim
        of_node, of_pair = structure_widths(config.structure)
        if config.task in ("link", "edge"):
            self.decoder: PairDecoder | NodeDecoder = PairDecoder(
                width + of_node, config.head.hidden_dim, config.num_classes,
                pair_columns=of_pair + config.edge_columns,
            )  # fmt: skip
        else:
            self.decoder = NodeDecoder(width + of_node, config.head.hidden_dim, config.num_classes)

    def inputs_of_decoder(
        self,
        embedding: Float[Tensor, "nodes dim"] | None,
        structure: StructureStep | None,
    ) -> Float[Tensor, "nodes width"]:
        """What a node brings to the decoder: its embedding, then its structure."""
        parts: list[Any] = [] if embedding is None else [embedding]
        if structure is not None and structure.nodes.shape[1]:
            dtype = self.decoder.out.weight.dtype
            parts.append(structure.nodes.to(dtype))
        return torch.cat(parts, dim=1)

    def save_pretrained(self, directory: Path | str, *, card: str) -> None:
        """Write config.json, model.safetensors and the card."""
        save(self, self.config, directory, card, format_version=FORMAT_VERSION)

    @classmethod
    def from_pretrained(cls, directory: Path | str) -> "GraphNetwork":
        """The network of a saved folder, in eval mode.

        Raises:
            UserError: No model there, or one that does not fit.
        """
        return cls.load(directory)[0]

    @classmethod
    def load(cls, directory: Path | str) -> tuple["GraphNetwork", KeyReport]:
        """`from_pretrained`, with what became of every key."""
        network = cls(load_config(NetworkConfig, directory, format_version=FORMAT_VERSION))
        report = load_weights(network, directory)
        return network.eval(), report
