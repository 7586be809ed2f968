"""A trained network along a sequence: embeddings step by step, scores of the next step's pairs."""

from collections import deque
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.blocks.protocol import detach_state
from graphs.data.snapshots import Snapshot
from graphs.heads import PairDecoder
from graphs.inputs import GraphInput, InputBuilder
from graphs.network import GraphNetwork
from graphs.pair_scores import BLOCK_NUMBERS, row_scores
from graphs.structure import Structure, StructureStep


class Walk:
    """What the decoder reads after each step, parameters frozen, from W_0 on.

    The result is a function of parameters and past snapshots alone, not of the order of training.

    Args:
        network: Put into eval mode at every step.
        builder: Makes inputs of snapshots.
        num_nodes: N.
    """

    def __init__(self, network: GraphNetwork, builder: InputBuilder, num_nodes: int) -> None:
        self.network, self.builder, self.num_nodes = network, builder, num_nodes
        config = network.config
        self.windowed = config.model.state == "window"
        self._window: deque[GraphInput] = deque(maxlen=config.model.context + 1)
        self._state: Any = None
        self._before: Any = None
        self._structure = None
        if config.structure.enabled:
            self._structure = Structure(config.structure, num_nodes, directed=config.directed)
        self.structure: StructureStep | None = None
        """After the last step."""

    @torch.no_grad()
    def advance(self, snapshot: Snapshot) -> Float[Tensor, "nodes width"]:
        """Take in a step; what each node brings to the decoder."""
        self.network.eval()
        if self._structure is not None:
            self.structure = self._structure.advance(snapshot)
        if self.network.embedder is not None:
            self._window.append(self.builder.build(snapshot))
            self._before = self._state
        return self.repeat_last()

    def reveal(self, snapshot: Snapshot) -> None:
        """Take in the labels and values of the step that `advance` had."""
        if self._structure is not None:
            self._structure.reveal(snapshot)

    def repeat_last(self) -> Float[Tensor, "nodes width"]:
        """The last step once more, with the parameters as they are now, gradients wherever they
        are enabled; the carried state follows."""
        embedder, embedding = self.network.embedder, None
        if embedder is not None and self.windowed:
            embedding, _ = embedder(list(self._window))
        elif embedder is not None:
            embedding, state = embedder([self._window[-1]], self._before)
            self._state = detach_state(state)
        return self.network.inputs_of_decoder(embedding, self.structure)


class TrainedLinks:
    """A trained network as a link predictor, all pairs in blocks of rows; see `LinkPredictor`.

    Args:
        network: Of the task `link`.
        builder: Makes inputs of snapshots.
        num_nodes: N.
    """

    def __init__(self, network: GraphNetwork, builder: InputBuilder, num_nodes: int) -> None:
        if network.config.task != "link":
            raise ValueError(f"links need a network of task link, got {network.config.task}")
        self.network, self.num_nodes = network, num_nodes
        self.walk = Walk(network, builder, num_nodes)
        self._x: Tensor | None = None

    def update(
        self,
        snapshot: Snapshot,
        *,
        fit: Int[Tensor, "2 fit"] | None = None,
        hold: Int[Tensor, "2 hold"] | None = None,
    ) -> None:
        """Take in a revealed step; the parameters stay, so `fit` and `hold` are not used."""
        self._set(self.walk.advance(snapshot))
        self.walk.reveal(snapshot)

    @torch.no_grad()
    def pairs(self, pairs: Int[Tensor, "2 pairs"]) -> Float[Tensor, " pairs"]:
        """Logit of a link minus logit of none."""
        return self._decoder.scores(self._known(), pairs, self.walk.structure).float()

    @torch.no_grad()
    def rows(self, start: int, stop: int) -> Float[Tensor, "rows nodes"]:
        """Scores of all targets for a block of sources."""
        self._known()
        scores = row_scores(self._p, self._minus_q, self._w, self._of_target, start, stop)
        if self.walk.structure is not None and self._decoder.pair_columns:
            self._add_met(scores, self.walk.structure, start, stop)
        return scores

    @property
    def _decoder(self) -> PairDecoder:
        decoder = self.network.decoder
        assert isinstance(decoder, PairDecoder)
        return decoder

    @torch.no_grad()
    def _set(self, x: Float[Tensor, "nodes width"]) -> None:
        self._x = x
        p, q = self._decoder.terms(x, x)
        w, bias = self._decoder.difference
        self._p, self._minus_q, self._w = p, -q, w.contiguous()
        self._of_target = q @ w + bias

    def _known(self) -> Float[Tensor, "nodes width"]:
        if self._x is None:
            raise ValueError("scores need a step: call update first")
        return self._x

    def _add_met(
        self, scores: Float[Tensor, "rows nodes"], known: StructureStep, start: int, stop: int
    ) -> None:
        """Put the scores of pairs that met before in the place of those without their columns."""
        of_rows = known.of_rows(start, stop, self.num_nodes)
        block = max(1, BLOCK_NUMBERS // self._p.shape[1])
        for first in range(of_rows.start, of_rows.stop, block):
            part = slice(first, min(first + block, of_rows.stop))
            source, target = known.keys[part] // self.num_nodes, known.keys[part] % self.num_nodes
            hidden = self._p[source] - self._minus_q[target]
            hidden += self._decoder.of_columns(known.pairs[part].to(hidden.dtype))
            bias = self._decoder.difference[1]
            scores[source - start, target] = hidden.clamp_(min=0) @ self._w + bias
