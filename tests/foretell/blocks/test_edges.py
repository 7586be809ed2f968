"""Edges at which blocks meet: rows without steps, resets in padding, states of any layout."""

import pytest
import torch
from torch import nn
from torch.utils import _pytree

from foretell.blocks.aaren import Aaren
from foretell.blocks.cellwise import CellwiseMixer
from foretell.blocks.conv_gated import ConvGRU, ConvLSTM
from foretell.blocks.conv_recurrent import ConvRecurrence
from foretell.blocks.lssl import LSSL
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM
from foretell.blocks.ngram import NgramHead
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.protocol import active_steps
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU, LSTM
from foretell.blocks.s4d import S4D
from foretell.blocks.segments import run_segments
from foretell.blocks.sparse_recurrent import SparseRecurrent
from foretell.blocks.stack import LRCN, Stack
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext
from foretell.blocks.window_attention import SlidingWindowAttention

DIM = 3
MAKERS = {
    "lstm": lambda: LSTM(DIM, 4),
    "gru_bidirectional": lambda: GRU(DIM, 4, bidirectional=True),
    "sparse": lambda: SparseRecurrent(DIM, graph_from_edges(4, [(0, 1), (1, 3), (0, 3), (0, 2)])),
    "stack": lambda: Stack([GRU(DIM, DIM), Aaren(DIM, 3)]),
    "aaren": lambda: Aaren(DIM, 3),
    "mamba2": lambda: Mamba2(DIM, 4, head_dim=2, chunk_size=4),
    "mamba2_norm": lambda: Mamba2(DIM, 4, head_dim=2, max_state_norm=0.005, norm_every=4),
    "mamba2_window": lambda: Mamba2(DIM, 4, head_dim=2, window=5, chunk_size=4),
    "mamba2_channel": lambda: Mamba2(DIM, 4, head_dim=1, per_channel=True),
    "prefix_attention": lambda: PrefixLinearAttention(DIM, 3, feature_dim=2),
    "lssl": lambda: LSSL(DIM, 4, block_size=4),
    "s4d": lambda: S4D(DIM, 4, block_size=4),
    "titans": lambda: TitansMemory(DIM, chunk_size=4),
    "titans_1": lambda: TitansMemory(DIM, chunk_size=1),
    "titans_context": lambda: MemoryAsContext(DIM, 1, segment_size=4),
    "titans_gate": lambda: MemoryAsGate(DIM, 1, window=4),
    "titans_layer": lambda: MemoryAsLayer(DIM, 1, window=4),
    "window_attention": lambda: SlidingWindowAttention(DIM, 3, window=4),
}
BLOCKS = pytest.mark.parametrize("name", MAKERS)


def build(name):
    torch.manual_seed(0)
    return MAKERS[name]().double().eval()


def draw(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(a, b, atol=1e-9):
    for one, other in zip(_pytree.tree_leaves(a), _pytree.tree_leaves(b), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


def later_state(block, batch):
    with torch.no_grad():
        return block(draw(batch, 6, DIM, seed=7))[1]


@BLOCKS
def test_resets_in_a_batch_of_padding_alone(name):
    block = build(name)
    state = later_state(block, 2)
    reset = torch.arange(9) == torch.tensor([[0], [4]])
    dirty = torch.full((2, 9, DIM), torch.nan, dtype=torch.float64)
    y, end = block(dirty, state, lengths=torch.zeros(2, dtype=torch.int32), reset=reset)
    assert y.shape == (2, 9, block.output_dim) and torch.count_nonzero(y) == 0
    same(end, state, 0.0)


@BLOCKS
def test_no_rows(name):
    block = build(name)
    none = torch.zeros(0, 9, DIM, dtype=torch.float64)
    for reset in (None, torch.zeros(0, 9, dtype=torch.bool)):
        y, end = block(none, lengths=torch.zeros(0, dtype=torch.int64), reset=reset)
        assert y.shape == (0, 9, block.output_dim)
        assert all(len(field) == 0 for field in _pytree.tree_leaves(end))


@BLOCKS
def test_a_reset_discards_a_state_that_is_not_finite(name):
    block, x = build(name), draw(2, 9, DIM)
    state = later_state(block, 2)
    reset = (torch.arange(9) == 0).expand(2, 9)
    for value in (torch.nan, torch.inf):
        broken = _pytree.tree_map(
            lambda t, value=value: torch.full_like(t, value) if t.is_floating_point() else t, state
        )
        same(block(x, broken, reset=reset), block(x))


@BLOCKS
def test_states_of_any_layout(name):
    block, x = build(name), draw(2, 9, DIM)
    state = later_state(block, 2)
    last = _pytree.tree_map(lambda t: torch.stack([t, t], -1)[..., 1], state)
    odd = _pytree.tree_map(lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view_as(t), state)
    for other in (last, odd):
        same(block(x, other), block(x, state))
        if block.streamable:
            same(block.step(x[:, 0], other), block.step(x[:, 0], state))


def test_lengths_and_resets_must_fit_the_batch():
    for batch, lengths in ((1, [2, 4, 1]), (3, [2])):
        with pytest.raises(ValueError, match=rf"lengths must be \[{batch}\], one a row, got"):
            active_steps(4, lengths=torch.tensor(lengths), like=torch.zeros(batch, 4))
    for time in (5, 12):
        reset, x = torch.zeros(2, time, dtype=torch.bool), torch.zeros(2, 9)
        with pytest.raises(ValueError, match=rf"reset must be \[2, 9\], got \[2, {time}\]"):
            run_segments(lambda *given: given[:2], x, x, x, lengths=None, reset=reset)


def test_a_volume_ignores_resets_and_nan_in_the_padding():
    torch.manual_seed(0)
    block = ConvRecurrence(2, DIM, norm="none").double()
    x, volume = draw(3, 6, DIM), draw(3, 2, 2, 2, 2)
    lengths = torch.tensor([6, 3, 0])
    padding = torch.arange(6) >= lengths[:, None]
    reset = torch.zeros(3, 6, dtype=torch.bool)
    reset[0, 2] = reset[1, 4] = reset[2, 0] = True
    given = [x.clone().requires_grad_(), x.masked_fill(padding[..., None], torch.nan)]
    given[1].requires_grad_()
    results = []
    for one, places in zip(given, (reset & ~padding, reset), strict=True):
        y, end = block(one, block.seed_state(volume), lengths=lengths, reset=places)
        loss = y.square().sum() + end.volume.square().sum()
        results.append((y, end, torch.autograd.grad(loss, [one, *block.parameters()])))
    same(*results)
    same(end.volume[2], volume[2], 0.0)
    assert end.position.tolist() == [4, 3, 0] and torch.count_nonzero(y[padding]) == 0


def test_seeded_states_are_at_least_float32():
    volume = torch.ones(1, 2, 2, 2, 2, dtype=torch.bfloat16)
    blocks = (ConvGRU(2, DIM), ConvLSTM(2, DIM), CellwiseMixer(GRU(2, 2), DIM))
    for block in (*blocks, ConvRecurrence(2, DIM)):
        fields = _pytree.tree_leaves(block.seed_state(volume))
        fields = [field for field in fields if field.is_floating_point()]
        assert all(field.dtype == torch.float32 for field in fields)
    for block in (MatrixGRU(3, 2), MatrixLSTM(3, 2)):
        fields = _pytree.tree_leaves(block.seed_state(torch.ones(1, 3, 2, dtype=torch.bfloat16)))
        assert all(field.dtype == torch.float32 for field in fields)


def test_a_single_bias_is_initialised_after_an_empty_start():
    with torch.device("meta"):
        block = LSTM(DIM, 4, num_layers=2, single_bias=True)
    block = block.to_empty(device="cpu")
    for tensor in (*block.parameters(), *block.buffers()):
        tensor.data.fill_(torch.nan)
    block.reset_parameters()
    assert torch.isfinite(block(torch.zeros(1, 2, DIM))[0]).all()
    assert all(torch.count_nonzero(buffer) == 0 for buffer in block.buffers())


class WideNorm(nn.Module):
    """What autocast on a GPU makes of a norm."""

    def forward(self, x):
        return x.float()


def test_a_stack_answers_in_the_type_of_its_input():
    torch.manual_seed(0)
    block = Stack([GRU(DIM, 4), GRU(4, 4)])
    block.norms = nn.ModuleList(WideNorm() for _ in range(2))
    x = torch.randn(2, 5, DIM).bfloat16()
    y, state = block(x)
    y_t, _ = block.step(x[:, 0], state)
    assert y.dtype == y_t.dtype == torch.bfloat16


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_an_encoder_gets_no_gradient_from_padded_frames(pool):
    torch.manual_seed(0)
    model = LRCN(nn.Linear(2, 3), LSTM(3, 4), 2, pool=pool).double()
    x, lengths = draw(2, 5, 2), torch.tensor([3, 5])
    found = []
    for value in (0.0, torch.nan):
        dirty = x.masked_fill((torch.arange(5) >= lengths[:, None])[..., None], value)
        answer, _ = model(dirty, lengths=lengths)
        found.append(torch.autograd.grad(answer.sum(), list(model.parameters())))
    same(*found)


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_lrcn_counts_frames_exactly_in_low_precision(pool):
    """bfloat16 has no 259."""
    torch.manual_seed(0)
    model = LRCN(nn.Identity(), LSTM(DIM, 4), 2, pool=pool)
    x, lengths = torch.randn(2, 300, DIM), torch.tensor([259, 3])
    exact, _ = model(x, lengths=lengths)
    low, _ = model.bfloat16()(x.bfloat16(), lengths=lengths)
    torch.testing.assert_close(low.float(), exact, rtol=0, atol=2e-2)
    answer, _ = model(x[:, :0].bfloat16())
    torch.testing.assert_close(answer, model.head.bias.expand(2, -1))


def test_rows_of_an_ngram_head_are_independent():
    torch.manual_seed(0)
    block, h = NgramHead(DIM, 2).double(), draw(2, 8, DIM)
    ids = torch.tensor([[0, 1] * 4, [0, 1] * 4])
    expected, _ = block(h, ids=ids)
    for value in (torch.inf, torch.nan, 1e300):
        other = h.clone()
        other[0, 2] = value
        assert torch.equal(block(other, ids=ids)[0][1], expected[1])


def test_ids_of_any_integer_type():
    torch.manual_seed(0)
    block, h = NgramHead(DIM, 2, n=2).double(), draw(1, 8, DIM)
    ids = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1]])
    expected = block(h, ids=ids)
    for dtype in (torch.int8, torch.int32):
        y, end = block(h, ids=ids.to(dtype))
        same((y, end), expected, 0.0)
        assert end.recent.dtype == torch.int64
