"""All sequence blocks and options, each with its loop oracle, and what their tests share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils import _pytree

from foretell.blocks.aaren import Aaren, AarenBlock, aaren_block_naive, aaren_naive
from foretell.blocks.bidirectional_naive import bidirectional_naive
from foretell.blocks.cellwise import CellwiseMixer, cellwise_naive
from foretell.blocks.conv_gated import ConvGRU, ConvLSTM, conv_gru_naive, conv_lstm_naive
from foretell.blocks.conv_recurrent import ConvRecurrence, conv_recurrence_naive
from foretell.blocks.lssl import LSSL, lssl_naive
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.mamba2_naive import mamba2_naive
from foretell.blocks.matrix_cells import (
    MatrixGRU,
    MatrixLSTM,
    matrix_gru_naive,
    matrix_lstm_naive,
)
from foretell.blocks.ngram import NgramHead, ngram_naive
from foretell.blocks.prefix_attention import PrefixLinearAttention, prefix_attention_naive
from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN, recurrent_naive
from foretell.blocks.s4d import S4D, s4d_naive
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.softmax import softmax_scan, softmax_scan_tree
from foretell.blocks.sparse_recurrent import SparseRecurrent, sparse_recurrent_naive
from foretell.blocks.stack import Stack, stack_naive
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext
from foretell.blocks.titans_naive import (
    memory_as_context_naive,
    memory_as_gate_naive,
    memory_as_layer_naive,
    titans_naive,
)
from foretell.blocks.window_attention import SlidingWindowAttention, window_attention_naive

DIM = 3
GRAPH = graph_from_edges(6, [(0, 2), (1, 3), (0, 3), (2, 4), (1, 4), (4, 5), (3, 5), (0, 5)])


class SignNgram(NgramHead):
    """An n-gram head whose two ids are the sign of the first channel."""

    def __init__(self, n: int) -> None:
        super().__init__(DIM, 2, n=n)

    def forward(self, x, state=None, *, lengths=None, reset=None):
        return super().forward(x, state, ids=self.ids(x), lengths=lengths, reset=reset)

    def step(self, x_t, state):
        return super().step(x_t, state, ids=self.ids(x_t))

    def ids(self, x):
        return (x[..., 0] > 0).long()

    def naive(self, x, state):
        return ngram_naive(self, x, self.ids(x), state)


@dataclass(frozen=True)
class Case:
    """A block with options, and its oracle."""

    name: str
    make: Callable[[], SequenceMixer]
    naive: Callable[..., Any]
    """(block, x, state) -> (y, state)."""
    without_gradient: tuple[str, ...] = ()
    """Fields of the state that only scale."""
    space: tuple[int, ...] = ()
    """Axes of x after the channels."""
    initial: dict[str, Any] = field(default_factory=dict)
    """What `init_state` must be told."""
    needs_state: bool = False
    """x does not tell the size of the space: `forward` must be given a state."""
    leak: float = 0.0
    """How much of a later input rounding may let through: FFTs."""
    tolerance: dict[str, float] = field(default_factory=lambda: {"rtol": 0.0, "atol": 1e-9})

    @property
    def y_space(self) -> tuple[int, ...]:
        """Axes of y after the channels."""
        space: tuple[int, ...] = self.initial.get("spatial", self.space)
        return space


CASES = [
    Case("rnn_tanh", lambda: RNN(DIM, 4, num_layers=2), recurrent_naive),
    Case("rnn_relu", lambda: ReluRNN(DIM, 4), recurrent_naive),
    Case("gru", lambda: GRU(DIM, 4, num_layers=2, orthogonal_recurrent=True), recurrent_naive),
    Case("lstm", lambda: LSTM(DIM, 4), recurrent_naive),
    Case("lstm_2", lambda: LSTM(DIM, 5, num_layers=2, forget_bias=1.0, single_bias=True),
         recurrent_naive),
    Case("lstm_bidirectional", lambda: LSTM(DIM, 4, num_layers=2, bidirectional=True),
         bidirectional_naive),
    Case("gru_bidirectional", lambda: GRU(DIM, 4, bidirectional=True), bidirectional_naive),
    Case("conv_gru", lambda: ConvGRU(2, DIM), conv_gru_naive, space=(2, 3, 2),
         initial={"spatial": (2, 3, 2)}),
    Case("conv_gru_after", lambda: ConvGRU(2, DIM, reset_after=True, spatial_dims=2),
         conv_gru_naive, space=(3, 2), initial={"spatial": (3, 2)}),
    Case("conv_gru_vector", lambda: ConvGRU(2, DIM), conv_gru_naive,
         initial={"spatial": (1, 2, 3)}, needs_state=True),
    Case("conv_lstm", lambda: ConvLSTM(2, DIM, spatial_dims=2), conv_lstm_naive, space=(3, 3),
         initial={"spatial": (3, 3)}),
    Case("conv_lstm_vector", lambda: ConvLSTM(2, DIM, spatial_dims=2), conv_lstm_naive,
         initial={"spatial": (2, 3)}, needs_state=True),
    Case("conv_recurrence", lambda: ConvRecurrence(2, DIM, num_steps=3), conv_recurrence_naive,
         initial={"spatial": (2, 2, 3)}, needs_state=True),
    Case("conv_recurrence_plain",
         lambda: ConvRecurrence(2, DIM, layers="conv_bn_relu", norm="none"),
         conv_recurrence_naive, initial={"spatial": (1, 2, 2)}, needs_state=True),
    Case("cellwise_lstm", lambda: CellwiseMixer(LSTM(2, 3), DIM),
         partial(cellwise_naive, oracle=recurrent_naive),
         initial={"spatial": (1, 2, 2)}, needs_state=True),
    Case("cellwise_mamba2", lambda: CellwiseMixer(Mamba2(2, 3, head_dim=2), DIM),
         partial(cellwise_naive, oracle=mamba2_naive),
         initial={"spatial": (1, 1, 2)}, needs_state=True),
    Case("matrix_gru", lambda: MatrixGRU(DIM, 2), matrix_gru_naive, space=(2,)),
    Case("matrix_lstm", lambda: MatrixLSTM(DIM, 4), matrix_lstm_naive, space=(4,)),
    Case("ngram", lambda: SignNgram(1), SignNgram.naive),
    Case("ngram_2", lambda: SignNgram(2), SignNgram.naive),
    Case("aaren", lambda: Aaren(DIM, 2, head_dim=4, output_dim=5), aaren_naive, ("m",)),
    Case("aaren_chunk_5", lambda: Aaren(DIM, 3, scan_fn=partial(softmax_scan, chunk_size=5)),
         aaren_naive, ("m",)),
    Case("aaren_tree", lambda: Aaren(DIM, 1, scan_fn=softmax_scan_tree), aaren_naive, ("m",)),
    Case("aaren_block", lambda: AarenBlock(DIM, 3, feedforward_dim=5), aaren_block_naive, ("m",)),
    Case("aaren_block_post", lambda: AarenBlock(DIM, 3, pre_norm=False, activation="relu"),
         aaren_block_naive, ("m",)),
    Case("aaren_stack", lambda: Stack([AarenBlock(DIM, 3), GRU(DIM, 4)]),
         partial(stack_naive, oracles=[aaren_block_naive, recurrent_naive]), ("m",)),
    Case("mamba2", lambda: Mamba2(DIM, 4, head_dim=2, chunk_size=5), mamba2_naive),
    Case("mamba2_groups", lambda: Mamba2(DIM, 3, expand=4, head_dim=3, num_groups=2, conv_width=3,
                                         bias=True, chunk_size=16), mamba2_naive),
    Case("mamba2_scaled", lambda: Mamba2(DIM, 4, head_dim=3, decay_scale=1.5, input_scale=0.5,
                                         conv_bias=False, conv_width=1), mamba2_naive),
    Case("mamba2_norm", lambda: Mamba2(DIM, 4, head_dim=2, max_state_norm=0.005), mamba2_naive),
    Case("mamba2_norm_5", lambda: Mamba2(DIM, 4, head_dim=2, max_state_norm=0.005, norm_every=5,
                                         chunk_size=5), mamba2_naive),
    Case("mamba2_window", lambda: Mamba2(DIM, 4, head_dim=2, window=7, chunk_size=5), mamba2_naive),
    Case("mamba2_channel", lambda: Mamba2(DIM, 4, head_dim=1, per_channel=True), mamba2_naive),
    Case("prefix_attention", lambda: PrefixLinearAttention(DIM, 3, feature_dim=2),
         prefix_attention_naive),
    Case("prefix_attention_wide", lambda: PrefixLinearAttention(DIM, 2, feature_dim=4, head_dim=3,
         output_dim=5, scan_fn=partial(ssd, chunk_size=5, block_size=16)), prefix_attention_naive),
    Case("sparse_tanh", lambda: SparseRecurrent(DIM, GRAPH, cell="rnn_tanh"),
         sparse_recurrent_naive),
    Case("sparse_relu", lambda: SparseRecurrent(DIM, GRAPH, cell="rnn_relu"),
         sparse_recurrent_naive),
    Case("sparse_gru", lambda: SparseRecurrent(DIM, GRAPH), sparse_recurrent_naive),
    Case("sparse_lstm", lambda: SparseRecurrent(DIM, GRAPH, cell="lstm"), sparse_recurrent_naive),
    Case("stack", lambda: Stack([LSTM(DIM, 4), GRU(4, 4), RNN(4, 4)]),
         partial(stack_naive, oracles=[recurrent_naive] * 3)),
    Case("stack_mlp", lambda: Stack([GRU(DIM, 4), LSTM(4, 4)], feedforward_dim=5),
         partial(stack_naive, oracles=[recurrent_naive] * 2)),
    Case("stack_plain", lambda: Stack([LSTM(DIM, 4), LSTM(4, 4)], norm="none", residual=False),
         partial(stack_naive, oracles=[recurrent_naive] * 2)),
    Case("stack_bidirectional",
         lambda: Stack([GRU(DIM, 2, bidirectional=True), GRU(4, 4)], norm="rms"),
         partial(stack_naive, oracles=[bidirectional_naive, recurrent_naive])),
    Case("lssl", lambda: LSSL(DIM, 6), lssl_naive, leak=1e-12),
    Case("lssl_outputs", lambda: LSSL(DIM, 5, num_outputs=2, block_size=8), lssl_naive, leak=1e-12),
    Case("lssl_fixed", lambda: LSSL(DIM, 4, trainable=False, alpha=1.0, block_size=5), lssl_naive,
         leak=1e-12),
    Case("lssl_legt", lambda: LSSL(DIM, 4, hippo="legt", legt_scale=0.5, alpha=0.7, block_size=1),
         lssl_naive, leak=1e-12),
    Case("s4d_lin", lambda: S4D(DIM, 8), s4d_naive, leak=1e-12),
    Case("s4d_inv", lambda: S4D(DIM, 6, init="inv", block_size=8), s4d_naive, leak=1e-12),
    Case("s4d_legs", lambda: S4D(DIM, 6, init="legs", block_size=1), s4d_naive, leak=1e-12),
    Case("s4d_real", lambda: S4D(DIM, 2, init="real", block_size=5), s4d_naive, leak=1e-12),
    Case("titans", lambda: TitansMemory(DIM, 4, chunk_size=1, zero_start=True), titans_naive),
    Case("titans_chunk_4", lambda: TitansMemory(DIM, output_dim=5, chunk_size=4), titans_naive),
    Case("titans_deep", lambda: TitansMemory(DIM, 4, depth=2, hidden_dim=5, chunk_size=4),
         titans_naive),
    Case("titans_plain", lambda: TitansMemory(DIM, chunk_size=5, conv_width=None, silu=False,
                                              normalise=False), titans_naive),
    Case("window_attention", lambda: SlidingWindowAttention(DIM, 3, window=5, num_persistent=2),
         window_attention_naive),
    Case("window_attention_1", lambda: SlidingWindowAttention(DIM, 1, window=1),
         window_attention_naive),
    Case("titans_gate", lambda: MemoryAsGate(DIM, 3, window=5, num_persistent=2, chunk_size=4),
         memory_as_gate_naive),
    Case("titans_layer", lambda: MemoryAsLayer(DIM, 1, window=5, num_persistent=3, chunk_size=4,
                                               depth=1), memory_as_layer_naive),
    Case("titans_gate_plain", lambda: MemoryAsGate(DIM, 1, window=3, chunk_size=4, depth=1,
                                                   silu=False, conv_width=2), memory_as_gate_naive),
    Case("titans_context_plain", lambda: MemoryAsContext(DIM, 1, segment_size=4, depth=1,
                                                         conv_width=None, silu=False),
         memory_as_context_naive),
    Case("titans_context", lambda: MemoryAsContext(DIM, 1, segment_size=4, num_persistent=2),
         memory_as_context_naive),
    Case("titans_context_16", lambda: MemoryAsContext(DIM, 3, num_persistent=0, depth=1),
         memory_as_context_naive),
    Case("titans_context_literal", lambda: MemoryAsContext(DIM, 3, segment_size=5, depth=1,
                                                           causal_guard=False),
         memory_as_context_naive),
]  # fmt: skip
STREAMABLE = [case for case in CASES if case.make().streamable]
CAUSAL = [case for case in CASES if case.make().causal]
BOUNDED = [case for case in CASES if case.make().bounded_state]


def cases(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def build(case: Case, dtype: torch.dtype = torch.float64) -> SequenceMixer:
    torch.manual_seed(0)
    return case.make().to(dtype).eval()


def inputs(
    case: Case, batch: int, time: int, dtype: torch.dtype = torch.float64, *, seed: int = 1
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, DIM, *case.space, generator=generator, dtype=dtype)


def initial(case: Case, block: SequenceMixer, batch: int) -> Any:
    return block.init_state(batch, **case.initial)


def start(case: Case, block: SequenceMixer, batch: int) -> Any:
    """What `forward` needs to begin: none where it finds the initial state itself."""
    return initial(case, block, batch) if case.needs_state else None


def random_state(case: Case, block: SequenceMixer, batch: int) -> Any:
    """A reachable state that is not the initial one: after 5 steps of other input."""
    with torch.no_grad():
        x = inputs(case, batch, 5, next(block.parameters()).dtype, seed=7)
        _, state = block(x, start(case, block, batch))
    return state


def same(a: Any, b: Any, tolerance: dict[str, float]) -> None:
    left, right = _pytree.tree_leaves(a), _pytree.tree_leaves(b)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, equal_nan=False, **tolerance)


def loop(block: SequenceMixer, x: torch.Tensor, state: Any) -> Any:
    outputs = []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        outputs.append(y_t)
    return torch.stack(outputs, 1), state


def gradients(block: SequenceMixer, y: Any, state: Any, sources: list[torch.Tensor]) -> Any:
    """Of a loss on y and on the final state."""
    fields = [t for t in _pytree.tree_leaves(state) if t.requires_grad and t.numel()]
    total = (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum()
    for place, tensor in enumerate(fields):
        total = total + ((place + 1.3) * tensor).square().sum()
    if not total.requires_grad:  # No steps, and a state without entries.
        return [torch.zeros_like(source) for source in sources]
    return torch.autograd.grad(total, sources, allow_unused=True, materialize_grads=True)


def leaf_state(case: Case, block: SequenceMixer, batch: int) -> tuple[Any, Any]:
    """A random state whose floating fields want gradients, and those fields."""
    fields = []

    def leaf(part: Any, name: str = "") -> Any:
        if isinstance(part, tuple):
            names = getattr(part, "_fields", None)
            parts = map(leaf, part, names or [""] * len(part))
            return type(part)(*parts) if names else tuple(parts)
        if not part.is_floating_point() or name in case.without_gradient:
            return part
        fields.append(part.clone().requires_grad_())
        return fields[-1]

    return leaf(random_state(case, block, batch)), fields
