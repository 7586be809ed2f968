"""The loss of one training sample: what the embeddings after step t are asked."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from graphs.config import NegativesConfig, TrainConfig
from graphs.data.snapshots import Snapshot
from graphs.graph_data import GraphData
from graphs.heads import NodeDecoder, PairDecoder, link_loss, weighted_loss
from graphs.keys import merge_keys, sorted_keys
from graphs.model_config import HeadConfig
from graphs.negatives import (
    balanced_weights,
    sample_negatives,
    sample_strata,
    smart_count,
    without,
)
from graphs.network import GraphNetwork
from graphs.structure import StructureStep


@runtime_checkable
class Objective(Protocol):
    """Loss of the sample `step`; None where the step has no target."""

    def loss(
        self, network: GraphNetwork, x: Float[Tensor, "nodes dim"], data: GraphData, step: int
    ) -> Float[Tensor, ""] | None:
        """Of the decoder's inputs x after the step."""
        ...


class LinkObjective:
    """Do pairs meet at step t + 1? Weighted cross-entropy on positives and drawn negatives.

    Args:
        negatives: How pairs without an edge are drawn.
        head: Class weights and norm of the loss.
        context: Steps of the window in which targets of negatives had an edge.
    """

    def __init__(self, negatives: NegativesConfig, head: HeadConfig, context: int) -> None:
        self.negatives, self.head, self.context = negatives, head, context

    def loss(
        self, network: GraphNetwork, x: Float[Tensor, "nodes dim"], data: GraphData, step: int
    ) -> Float[Tensor, ""] | None:
        """See `Objective`; the draws are torch's global ones, seeded for each batch."""
        target = data.sequence[step + 1]
        if not target.num_edges:
            return None
        structure = data.structure_at(step)
        pool = data.active_pool(step, self.context)
        return self.pair_loss(network, x, target, structure, pool)

    def pair_loss(
        self,
        network: GraphNetwork,
        x: Float[Tensor, "nodes dim"],
        target: Snapshot,
        structure: StructureStep | None,
        pool: Tensor,
        positives: Tensor | None = None,
    ) -> Float[Tensor, ""]:
        """Loss on the pairs of `target`, or on those of its pairs that `positives` [n] keys name.

        Negatives are no pair of `target`, asked for or not.
        """
        assert isinstance(network.decoder, PairDecoder)
        nodes, every = target.num_nodes, target.pair_keys
        keys = every if positives is None else positives
        past = keys.new_empty(0)
        if self.negatives.past and structure is not None:
            past = without(structure.keys, every)
        taken = sorted_keys(torch.cat([every, past])) if len(past) else every
        strata = self._draw(keys, taken, pool, of=len(every), nodes=nodes)
        asked, part = merge_keys([keys, past, *(drawn for drawn, _ in strata)])
        linked = part == 0
        weights = balanced_weights(strata)[part] if self.negatives.balance else None
        pairs = torch.stack([asked // nodes, asked % nodes])
        scores = network.decoder.scores(x, pairs, structure)
        return link_loss(
            scores, linked, self.head.class_weights,
            norm=self.head.loss_norm, sample_weights=weights,
        )  # fmt: skip

    def _draw(
        self, keys: Tensor, taken: Tensor, pool: Tensor, *, of: int, nodes: int
    ) -> list[tuple[Tensor, int]]:
        """Negatives for some of a step's `of` positives, and how many pairs they stand for."""
        count = int(self.negatives.mult * len(keys))
        match self.negatives.kind:
            case "smart":
                count = smart_count(len(keys), self.negatives.mult, of=of)
                sources, targets = keys // nodes, pool
            case "uniform":
                sources = targets = torch.arange(nodes)
            case "strata":
                return sample_strata(taken, torch.unique(pool), count, num_nodes=nodes)
        drawn = sample_negatives(taken, sources, targets, count, num_nodes=nodes)
        return [(drawn, nodes**2 - len(taken))]


class EdgeObjective:
    """Of which class is each edge of step t? Its label is a target, never an input."""

    def __init__(self, head: HeadConfig) -> None:
        self.head = head

    def loss(
        self, network: GraphNetwork, x: Float[Tensor, "nodes dim"], data: GraphData, step: int
    ) -> Float[Tensor, ""] | None:
        """See `Objective`."""
        labels = data.sequence[step].edge_label
        known = None if labels is None else labels >= 0
        if labels is None or known is None or not bool(known.any()):
            return None
        logits = edge_logits(network, x, data.sequence[step], data.structure_at(step))
        return weighted_loss(
            logits[known], labels[known], self.head.class_weights, norm=self.head.loss_norm
        )


class NodeObjective:
    """Of which class is each node whose label belongs to step t?"""

    def __init__(self, head: HeadConfig) -> None:
        self.head = head

    def loss(
        self, network: GraphNetwork, x: Float[Tensor, "nodes dim"], data: GraphData, step: int
    ) -> Float[Tensor, ""] | None:
        """See `Objective`."""
        labels = data.sequence[step].node_label
        if labels is None:
            return None
        known = (labels >= 0).nonzero()[:, 0]
        if not len(known):
            return None
        logits = network.decoder(x[known])
        return weighted_loss(
            logits, labels[known], self.head.class_weights, norm=self.head.loss_norm
        )


class ValueObjective:
    """The number of each node at step t: mean squared error over the known ones."""

    def loss(
        self, network: GraphNetwork, x: Float[Tensor, "nodes dim"], data: GraphData, step: int
    ) -> Float[Tensor, ""] | None:
        """See `Objective`."""
        value = data.sequence[step].value
        if value is None:
            return None
        known = value.isfinite()
        if not bool(known.any()):
            return None
        forecast = node_values(network, x, data.structure_at(step))
        return functional.mse_loss(forecast[known], value[known].to(x.dtype))


def node_values(
    network: GraphNetwork, x: Float[Tensor, "nodes dim"], structure: StructureStep | None
) -> Float[Tensor, " nodes"]:
    """Forecast of every node: what the decoder says, on top of the last value where it is given."""
    assert isinstance(network.decoder, NodeDecoder)
    forecast: Tensor = network.decoder(x)[:, 0]
    lags = network.config.structure.lags
    if lags and structure is not None:
        forecast = forecast + structure.nodes[:, -lags].to(forecast)
    return forecast


def edge_logits(
    network: GraphNetwork,
    x: Float[Tensor, "nodes dim"],
    snapshot: Snapshot,
    structure: StructureStep | None,
) -> Float[Tensor, "edges classes"]:
    """Logits of the snapshot's edges, their own columns and structure included."""
    assert isinstance(network.decoder, PairDecoder)
    parts = []
    if structure is not None and structure.pairs.shape[1]:
        found, columns = structure.find(snapshot.pair_keys)
        assert len(found) == snapshot.num_edges
        parts.append(columns)
    if network.config.edge_columns:
        assert snapshot.edge_attr is not None
        parts.append(snapshot.edge_attr)
    own = torch.cat(parts, 1).to(x.dtype) if parts else None
    logits: Tensor = network.decoder(x, snapshot.edge_index, own)
    return logits


def build_objective(config: TrainConfig) -> Objective:
    """What `config.task` trains for."""
    match config.task:
        case "link":
            return LinkObjective(config.negatives, config.head, config.model.context)
        case "edge":
            return EdgeObjective(config.head)
        case "node":
            return NodeObjective(config.head)
        case "regression":
            return ValueObjective()
