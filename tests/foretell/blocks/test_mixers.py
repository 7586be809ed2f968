"""What every sequence block must hold: one file, all blocks and options (T1-T11, T13)."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils import _pytree

from foretell.blocks.aaren import Aaren, AarenBlock, aaren_naive
from foretell.blocks.conv_gated import ConvGRU, ConvLSTM
from foretell.blocks.lssl import LSSL, lssl_naive
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.mamba2_naive import mamba2_naive
from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM
from foretell.blocks.prefix_attention import PrefixLinearAttention, prefix_attention_naive
from foretell.blocks.protocol import (
    SequenceMixer,
    cat_states,
    detach_state,
    index_state,
    state_numel,
    state_to,
)
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN, recurrent_naive
from foretell.blocks.s4d import S4D, s4d_naive
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.softmax import softmax_scan, softmax_scan_tree
from foretell.blocks.sparse_recurrent import SparseRecurrent, sparse_recurrent_naive
from foretell.blocks.stack import Stack
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


@dataclass(frozen=True)
class Case:
    """A block with options, and its oracle."""

    name: str
    make: Callable[[], SequenceMixer]
    naive: Callable[..., Any] | None = None
    """(block, x, state) -> (y, state)."""
    without_gradient: tuple[str, ...] = ()
    """Fields of the state that only scale."""
    space: tuple[int, ...] = ()
    """Axes of x after the channels."""
    initial: dict[str, Any] = field(default_factory=dict)
    """What `init_state` must be told."""
    leak: float = 0.0
    """How much of a later input rounding may let through: FFTs."""
    tolerance: dict[str, float] = field(default_factory=lambda: {"rtol": 0.0, "atol": 1e-9})


CASES = [
    Case("rnn_tanh", lambda: RNN(DIM, 4, num_layers=2), recurrent_naive),
    Case("rnn_relu", lambda: ReluRNN(DIM, 4), recurrent_naive),
    Case("gru", lambda: GRU(DIM, 4, num_layers=2, orthogonal_recurrent=True), recurrent_naive),
    Case("lstm", lambda: LSTM(DIM, 4), recurrent_naive),
    Case("lstm_2", lambda: LSTM(DIM, 5, num_layers=2, forget_bias=1.0, single_bias=True),
         recurrent_naive),
    Case("lstm_bidirectional", lambda: LSTM(DIM, 4, num_layers=2, bidirectional=True)),
    Case("gru_bidirectional", lambda: GRU(DIM, 4, bidirectional=True)),
    Case("conv_gru", lambda: ConvGRU(2, DIM), space=(2, 3, 2),
         initial={"spatial": (2, 3, 2)}),
    Case("conv_gru_after", lambda: ConvGRU(2, DIM, reset_after=True, spatial_dims=2), space=(3, 2),
         initial={"spatial": (3, 2)}),
    Case("conv_lstm", lambda: ConvLSTM(2, DIM, spatial_dims=2), space=(3, 3),
         initial={"spatial": (3, 3)}),
    Case("matrix_gru", lambda: MatrixGRU(DIM, 2), space=(2,)),
    Case("matrix_lstm", lambda: MatrixLSTM(DIM, 4), space=(4,)),
    Case("aaren", lambda: Aaren(DIM, 2, head_dim=4, output_dim=5), aaren_naive, ("m",)),
    Case("aaren_chunk_5", lambda: Aaren(DIM, 3, scan_fn=partial(softmax_scan, chunk_size=5)),
         aaren_naive, ("m",)),
    Case("aaren_tree", lambda: Aaren(DIM, 1, scan_fn=softmax_scan_tree), aaren_naive, ("m",)),
    Case("aaren_block", lambda: AarenBlock(DIM, 3, feedforward_dim=5),
         without_gradient=("m",)),
    Case("aaren_block_post", lambda: AarenBlock(DIM, 3, pre_norm=False, activation="relu"),
         without_gradient=("m",)),
    Case("aaren_stack", lambda: Stack([AarenBlock(DIM, 3), GRU(DIM, 4)]),
         without_gradient=("m",)),
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
    Case("stack", lambda: Stack([LSTM(DIM, 4), GRU(4, 4), RNN(4, 4)])),
    Case("stack_plain", lambda: Stack([LSTM(DIM, 4), LSTM(4, 4)], norm="none", residual=False)),
    Case("stack_bidirectional",
         lambda: Stack([GRU(DIM, 2, bidirectional=True), GRU(4, 4)], norm="rms")),
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


def random_state(case: Case, block: SequenceMixer, batch: int) -> Any:
    """A reachable state that is not the initial one: after 5 steps of other input."""
    with torch.no_grad():
        _, state = block(inputs(case, batch, 5, next(block.parameters()).dtype, seed=7))
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
    fields = [t for t in _pytree.tree_leaves(state) if t.is_floating_point() and t.requires_grad]
    total = (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum()
    for place, tensor in enumerate(fields):
        total = total + ((place + 1.3) * tensor).square().sum()
    return torch.autograd.grad(total, sources, allow_unused=True, materialize_grads=True)


def leaf_state(case: Case, block: SequenceMixer, batch: int) -> tuple[Any, Any]:
    """A random state whose floating fields want gradients, and those fields."""
    state = random_state(case, block, batch)
    if case.without_gradient and any(torch.is_tensor(t) for t in state):
        held = {name: getattr(state, name) for name in state._fields}
        free = {
            n: t for n, t in held.items() if n not in case.without_gradient and torch.is_tensor(t)
        }
        wanted = {n: t.clone().requires_grad_() for n, t in free.items() if t.is_floating_point()}
        return state._replace(**wanted), list(wanted.values())
    leaves, spec = _pytree.tree_flatten(state)
    leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in leaves]
    return _pytree.tree_unflatten(leaves, spec), [t for t in leaves if t.requires_grad]


@cases(STREAMABLE)
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 17), (1, 65)])
def test_t1_forward_is_a_loop_of_steps(case, batch, time):
    block, x = build(case), inputs(case, batch, time)
    for state in (initial(case, block, batch), random_state(case, block, batch)):
        same(block(x, state), loop(block, x, state), case.tolerance)
    same(block(x), block(x, initial(case, block, batch)), {"rtol": 0.0, "atol": 0.0})


@cases(CAUSAL)
@pytest.mark.parametrize("cut", [0, 1, 16, 36])
def test_t2_a_sequence_may_be_cut_anywhere(case, cut):
    block, x = build(case), inputs(case, 2, 37)
    first, state = block(x[:, :cut])
    second, state = block(x[:, cut:], state)
    y, end = block(x)
    same((torch.cat([first, second], 1), state), (y, end), case.tolerance)


@pytest.mark.slow
@cases(CAUSAL)
def test_t2_every_cut(case):
    for cut in range(38):
        test_t2_a_sequence_may_be_cut_anywhere(case, cut)


@cases([case for case in CASES if case.naive])
@pytest.mark.parametrize(("batch", "time"), [(3, 2), (1, 64), (2, 37)])
def test_t3_t5_the_oracle_agrees_with_its_gradients(case, batch, time):
    block = build(case)
    results = []
    for run in (block, lambda *given: case.naive(block, *given)):
        x = inputs(case, batch, time).requires_grad_()
        state, fields = leaf_state(case, block, batch)
        y, end = run(x, state)
        grads = gradients(block, y, end, [x, *block.parameters(), *fields])
        results.append(((y, end), grads))
    same(results[0][0], results[1][0], case.tolerance)
    same(results[0][1], results[1][1], {"rtol": 1e-9, "atol": 1e-8})


@cases(CASES)
def test_t5_gradcheck(case):
    block = build(case)
    state, fields = leaf_state(case, block, 1)
    x = inputs(case, 1, 3).requires_grad_()

    def run(given: torch.Tensor) -> Any:
        y, end = block(given, state)
        if case.without_gradient:  # Its fields share a free scale: check what is read from them.
            return y, block(inputs(case, 1, 2, seed=5), end)[0]
        return (y, *(t for t in _pytree.tree_leaves(end) if t.requires_grad))

    assert torch.autograd.gradcheck(run, (x,), atol=1e-6)
    assert all(torch.isfinite(t).all() for t in fields)


@cases(CAUSAL)
@pytest.mark.parametrize("training", [False, True])
def test_t6_no_output_depends_on_a_later_input(case, training):
    block, x = build(case).train(training), inputs(case, 2, 18).requires_grad_()
    y, _ = block(x)
    (grad,) = torch.autograd.grad(y[:, 11].sum(), x)
    assert grad[:, 12:].abs().max() <= case.leak and torch.count_nonzero(grad[:, :12]) > 0


@cases(CASES)
@pytest.mark.parametrize("lengths", [[5, 0, 17, 9], [17, 17, 17, 17], [1, 2, 3, 16], [0, 0, 0, 0]])
def test_t7_padding_is_as_if_it_were_not_there(case, lengths):
    block = build(case)
    x = inputs(case, 4, 17)
    sizes = torch.tensor(lengths)
    padding = torch.arange(17) >= sizes[:, None]
    dirty = x.clone()
    dirty[padding] = float("nan")
    dirty.requires_grad_()
    state, fields = leaf_state(case, block, 4)
    sources = [*block.parameters(), *fields]
    y, end = block(dirty, state, lengths=sizes)
    assert torch.count_nonzero(y[padding]) == 0
    own_y, own_end = [], []
    for row, length in enumerate(lengths):
        given = index_state(state, torch.tensor([row]))
        out, last = block(x[row : row + 1, :length], given)
        own_y.append(torch.cat([out, out.new_zeros(1, 17 - length, *out.shape[2:])], 1))
        own_end.append(last)
    same((y, end), (torch.cat(own_y), cat_states(own_end)), case.tolerance)
    grad, *grads = gradients(block, y, end, [dirty, *sources])
    own = gradients(block, torch.cat(own_y), cat_states(own_end), sources)
    same(grads, own, {"rtol": 1e-9, "atol": 1e-8})
    assert torch.isfinite(grad).all() and torch.count_nonzero(grad[padding]) == 0


RESETS = [[[], [4, 5]], [[0], [16]], [[3, 9, 10], []], [[0, 16], [8]]]


@cases(CASES)
@pytest.mark.parametrize("resets", RESETS)
@pytest.mark.parametrize("lengths", [None, [17, 11]])
def test_t8_a_reset_begins_anew(case, resets, lengths):
    block, x = build(case), inputs(case, 2, 17).requires_grad_()
    reset = torch.zeros(2, 17, dtype=torch.bool)
    for row, steps in enumerate(resets):
        reset[row, steps] = True
    state, fields = leaf_state(case, block, 2)
    sizes = None if lengths is None else torch.tensor(lengths)
    y, end = block(x, state, reset=reset, lengths=sizes)
    own_y, own_end = [], []
    for row, steps in enumerate(resets):
        length = 17 if lengths is None else lengths[row]
        borders = [step for step in steps if step < length]
        given, outputs = index_state(state, torch.tensor([row])), []
        for start, stop in zip([0, *borders], [*borders, length], strict=True):
            if start in borders:
                given = initial(case, block, 1)
            out, given = block(x[row : row + 1, start:stop], given)
            outputs.append(out)
        outputs.append(x.new_zeros(1, 17 - length, *y.shape[2:]))
        own_y.append(torch.cat(outputs, 1))
        own_end.append(given)
    same((y, end), (torch.cat(own_y), cat_states(own_end)), case.tolerance)
    sources = [x, *block.parameters(), *fields]
    both = [
        gradients(block, *pair, sources)
        for pair in ((y, end), (torch.cat(own_y), cat_states(own_end)))
    ]
    same(*both, {"rtol": 1e-9, "atol": 1e-8})


@cases(CASES)
@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (2, 65)])
def test_t9_extreme_inputs_stay_finite(case, scale, batch, time):
    block = build(case, torch.float32)
    x = (scale * inputs(case, batch, time, torch.float32).sign()).requires_grad_()
    # Unbounded by definition: 65 steps of growth are the answer, of ReLU's state, of a descent
    # along keys of any norm, or by an MLP (float64 reaches 1e25 as well).
    unbounded = ("rnn_relu", "titans_plain", "titans_deep", "titans_gate", "titans_context")
    if case.name in unbounded:
        x = (x / 1e4).detach().requires_grad_()
    y, end = block(x)
    grads = gradients(block, y, end, [x, *block.parameters()])
    assert all(torch.isfinite(t).all() for t in _pytree.tree_leaves((y, end, grads)))


@cases(CASES)
def test_t10_states_are_never_changed(case):
    block, x = build(case), inputs(case, 2, 9).requires_grad_()
    state, fields = leaf_state(case, block, 2)
    leaves = [x, *_pytree.tree_leaves(state)]
    before = [(t._version, t.detach().clone()) for t in leaves]
    y, end = block(x, state)
    gradients(block, y, end, [x, *fields])
    again, _ = block(x, state)
    assert torch.equal(y, again)
    if block.streamable:
        block.step(x[:, 0], state)
    for tensor, (version, value) in zip(leaves, before, strict=True):
        assert tensor._version == version and torch.equal(tensor, value)
    cut = detach_state(end)
    assert not any(t.requires_grad for t in _pytree.tree_leaves(cut))


@cases(CASES)
def test_t11_housekeeping(case):
    block, x = build(case, torch.float32), inputs(case, 2, 33, torch.float32)
    y, end = block(x)
    twin = build(case, torch.float32)
    twin.load_state_dict(block.state_dict())
    for other in (twin, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(x)[0], y)
    torch.manual_seed(3)
    block.reset_parameters()
    first = [p.detach().clone() for p in block.parameters()]
    torch.manual_seed(3)
    block.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(first, block.parameters(), strict=True))
    assert str(block) and block.extra_repr()

    low = copy.deepcopy(twin).bfloat16()
    rounded, state = low(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    fields = [t for t in _pytree.tree_leaves(state) if t.is_floating_point()]
    assert fields and all(t.dtype == torch.float32 for t in fields)
    torch.testing.assert_close(
        rounded.float(), y, rtol=0, atol=3e-2 * max(1.0, float(y.abs().max()))
    )
    with torch.autocast("cpu", torch.bfloat16):
        half, state = twin(x)
    assert half.dtype == torch.float32
    fields = [t for t in _pytree.tree_leaves(state) if t.is_floating_point()]
    assert all(t.dtype == torch.float32 for t in fields)
    torch.testing.assert_close(half, y, rtol=0, atol=3e-2 * max(1.0, float(y.abs().max())))
    moved = state_to(end, dtype=torch.float64)
    assert all(
        t.dtype == torch.float64 for t in _pytree.tree_leaves(moved) if t.is_floating_point()
    )


@cases(BOUNDED)
def test_t13_the_state_does_not_grow(case):
    block, x = build(case, torch.float32), inputs(case, 1, 256, torch.float32)
    with torch.no_grad():
        _, state = block(x[:, :3])
        size = state_numel(state)
        for _ in range(4):
            y, state = block(x, state)
    assert state_numel(state) == size and y.grad_fn is None


MANY, STEPS, PIECE = 1_000_000, 10_000, 1_024


@pytest.mark.soak
@cases(BOUNDED)
@torch.no_grad()
def test_t13_a_million_steps_keep_memory_constant(case, constant_memory):
    block, x = build(case, torch.float32), inputs(case, 1, PIECE, torch.float32)
    start = initial(case, block, 1)
    state = constant_memory(lambda now: block(x, now)[1], start, MANY // PIECE, warm=16)
    y, _ = block(x[:, : MANY % PIECE], state)
    assert y.grad_fn is None and torch.isfinite(y).all()


@pytest.mark.soak
@cases([case for case in BOUNDED if case in STREAMABLE])
@torch.no_grad()
def test_t13_ten_thousand_steps_keep_memory_constant_and_agree(case, constant_memory):
    block, x = build(case), inputs(case, 1, STEPS // 10)
    start = initial(case, block, 1)
    state = constant_memory(lambda now: loop(block, x, now)[1], start, 9, warm=2)
    y, state = loop(block, x, state)
    expected = start
    for _ in range(10):
        expected_y, expected = block(x, expected)
    same((y, state), (expected_y, expected), {"rtol": 1e-6, "atol": 1e-6})


@cases(CASES)
def test_empty_sequences_and_wrong_lengths(case):
    block = build(case)
    state = random_state(case, block, 2)
    y, end = block(inputs(case, 2, 0), state)
    assert y.shape == (2, 0, block.output_dim, *case.space)
    same(end, state, {"rtol": 0.0, "atol": 0.0})
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 4\]"):
        block(inputs(case, 2, 4), lengths=torch.tensor([5, 0]))
    with pytest.raises(ValueError, match=f"must be .*{DIM}"):
        block(torch.zeros(2, 4, DIM + 1, *case.space, dtype=torch.float64))
    if not block.streamable:
        with pytest.raises(NotImplementedError):
            block.step(inputs(case, 2, 1)[:, 0], state)
