"""Recurrent layers wired by a graph (2407.20601): its edges are the weights between layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foretell.blocks.cells import NUM_GATES, Kind, LayerWeights
from foretell.blocks.checks import check_positive
from foretell.blocks.protocol import SequenceMixer, check_input, mask_steps
from foretell.blocks.pruning import apply_masks
from foretell.blocks.random_graph import LayeredGraph, gate_mask
from foretell.blocks.recurrent import GRU, LSTM, RNN, Recurrent, ReluRNN
from foretell.blocks.segments import run_segments

CELLS: dict[Kind, type[Recurrent]] = {
    "rnn_tanh": RNN,
    "rnn_relu": ReluRNN,
    "gru": GRU,
    "lstm": LSTM,
}

Run = Callable[[Recurrent, Tensor, Any], tuple[Tensor, Any]]
"""(block, inputs, state) -> (outputs, state) of one recurrent layer."""


class SparseState(NamedTuple):
    """State of a `SparseRecurrent`: one of every recurrent layer."""

    layers: tuple[Any, ...]
    """Of the layers of the graph, in order."""
    skips: tuple[Any, ...]
    """Of its skip pairs, in order."""


class SparseRecurrent(SequenceMixer):
    """Recurrent layers, a unit for each node of a graph, joined where the graph has an edge.

    o_0 = R_0(x) and o_l = R_l(o_{l-1}) + sum_{s: skip from s to l} R_{sl}(o_s), y = o of the last
    layer (2407.20601). Every R is one recurrent layer: the edges mask its input-to-hidden matrix,
    alike for all gates, and its hidden-to-hidden matrix is dense. x reaches all nodes of the first
    layer. Masked weights are 0 and have no gradient, see `foretell.blocks.pruning`; pruning works
    on the edges there are, and no mask and no `remove_masks` brings another to life.

    Args:
        input_dim: Width of x.
        graph: Layers and edges, of `layered_graph` or `graph_from_edges`.
        cell: Of every layer.

    Example:
        >>> from foretell.blocks.random_graph import layered_graph
        >>> block = SparseRecurrent(3, layered_graph("barabasi_albert", 12, seed=0))
        >>> y, state = block(torch.zeros(2, 5, 3))
        >>> y.shape[-1] == len(block.graph.layers[-1])
        True
    """

    def __init__(self, input_dim: int, graph: LayeredGraph, *, cell: Kind = "gru") -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        check_positive(input_dim=input_dim)
        self.graph, self.cell = graph, cell
        self.sizes = [len(layer) for layer in graph.layers]
        self.input_dim, self.output_dim = input_dim, self.sizes[-1]
        layers: list[Recurrent] = [CELLS[cell](input_dim, self.sizes[0])]
        layers += [self._masked(mask) for mask in graph.masks]
        self.layers = nn.ModuleList(layers)
        self.skips = nn.ModuleList(self._masked(skip.mask) for skip in graph.skips)
        self.seed_dim = sum(block.seed_dim for block in self._blocks())

    def _masked(self, mask: Bool[Tensor, "targets sources"]) -> Recurrent:
        targets, sources = mask.shape
        block = CELLS[self.cell](sources, targets)
        edges = gate_mask(mask, NUM_GATES[self.cell])
        apply_masks(block, {"core.weight_ih_l0": edges}, fixed=True)
        return block

    def reset_parameters(self) -> None:
        """Of every layer; what is masked stays masked."""
        for block in self._blocks():
            block.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, cell={self.cell!r}, sizes={self.sizes}, "
            f"num_edges={self.graph.num_edges}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> SparseState:
        """Zeros."""
        return self._join([block.init_state(batch, device, dtype) for block in self._blocks()])

    def seed_state(self, h: Float[Tensor, "batch units"]) -> SparseState:
        """Start from a vector that fills h of all layers, then of all skips; an LSTM's c is 0."""
        widths = [block.hidden_dim for block in self._blocks()]
        if h.shape[1] != sum(widths):
            raise ValueError(f"seed must have width {sum(widths)}, got {h.shape[1]}")
        parts = zip(self._blocks(), h.split(widths, dim=1), strict=True)
        return self._join([block.seed_state(part) for block, part in parts])

    def readout(self, state: SparseState) -> Float[Tensor, "batch output_dim"]:
        """What the last layer gave: its h and those of the skips that enter it."""
        top: Tensor = state.layers[-1].h[:, 0]
        for skip, own in zip(self.graph.skips, state.skips, strict=True):
            if skip.target_layer == len(self.sizes) - 1:
                top = top + own.h[:, 0]
        return top

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: SparseState
    ) -> tuple[Float[Tensor, "batch output_dim"], SparseState]:
        """One step of all layers."""
        self._check_step(x_t, state)
        with torch.autocast(x_t.device.type, enabled=False):
            value = x_t.to(state.layers[0].h.dtype)
            y, after = self._through(lambda block, x, own: block.step(x, own), value, state)
        return y.to(x_t.dtype), after

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: SparseState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], SparseState]:
        """All steps, layer by layer; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        dtype = state.layers[0].h.dtype
        with torch.autocast(x.device.type, enabled=False):
            values = mask_steps(x, active).to(dtype)

            def run(rows: Tensor, before: Any, sizes: Tensor | None) -> tuple[Tensor, Any]:
                return self._through(
                    lambda block, x, own: block(x, own, lengths=sizes), rows, before
                )

            if reset is None:
                y, after = run(values, state, lengths)
            else:
                fresh = self.init_state(len(x), x.device, dtype)
                y, after = run_segments(run, values, state, fresh, lengths=lengths, reset=reset)
        return mask_steps(y.to(x.dtype), active), after

    def _through(self, run: Run, x: Tensor, state: SparseState) -> tuple[Tensor, SparseState]:
        """All layers in order, each with the skips that enter it."""
        blocks = self._blocks()
        layers, skips = blocks[: len(self.sizes)], blocks[len(self.sizes) :]
        outputs, ends, skip_ends = [x], [], list(state.skips)
        for place, layer in enumerate(layers):
            value, end = run(layer, outputs[-1], state.layers[place])
            for index, skip in enumerate(self.graph.skips):
                if skip.target_layer == place:
                    source = outputs[skip.source_layer + 1]
                    extra, skip_ends[index] = run(skips[index], source, state.skips[index])
                    value = value + extra
            outputs.append(value)
            ends.append(end)
        return outputs[-1], SparseState(tuple(ends), tuple(skip_ends))

    def _blocks(self) -> list[Recurrent]:
        """The layers, then the skips."""
        return [b for b in (*self.layers, *self.skips) if isinstance(b, Recurrent)]

    def _join(self, states: list[Any]) -> SparseState:
        return SparseState(tuple(states[: len(self.sizes)]), tuple(states[len(self.sizes) :]))


def sparse_recurrent_naive(
    block: SparseRecurrent, x: Float[Tensor, "batch time input_dim"], state: SparseState
) -> tuple[Float[Tensor, "batch time output_dim"], SparseState]:
    """Loop oracle: a step at a time through all layers, from raw weights times the adjacency.

    Of a block that is not pruned.
    """
    pairs = {(place, place + 1): mask for place, mask in enumerate(block.graph.masks)}
    pairs |= {(skip.source_layer, skip.target_layer): skip.mask for skip in block.graph.skips}
    blocks = block._blocks()
    # In the order of the blocks: the layers, x before the first, then the skips.
    ends = [(-1, 0), *pairs]
    weights = []
    for own, pair in zip(blocks, ends, strict=True):
        dense = own._weights(0, 0, x.dtype)
        if pair in pairs:
            raw = own.core.get_parameter("parametrizations.weight_ih_l0.original")
            edges = pairs[pair].to(x.dtype).repeat(len(raw) // own.hidden_dim, 1)
            dense = LayerWeights(raw * edges, *dense[1:])
        weights.append(dense)
    states = [tuple(field[:, 0] for field in own) for own in (*state.layers, *state.skips)]
    outputs = []
    for x_t in x.unbind(1):
        values = {-1: x_t}
        for target in range(len(block.sizes)):
            total = x_t.new_zeros(len(x), block.sizes[target])
            for place, (source, entered) in enumerate(ends):
                if entered == target:
                    states[place] = blocks[place]._cell(
                        values[source], states[place], weights[place]
                    )
                    total = total + states[place][0]
            values[target] = total
        outputs.append(values[len(block.sizes) - 1])
    kind = type(state.layers[0])
    return torch.stack(outputs, 1), block._join(
        [kind(*(field[:, None] for field in own)) for own in states]
    )
