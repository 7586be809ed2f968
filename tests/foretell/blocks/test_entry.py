"""What blocks refuse when they are run: states, lengths, resets and inputs that do not fit."""

import jaxtyping
import pytest
import torch
from mixer_cases import (
    CASES,
    DIM,
    STREAMABLE,
    SignNgram,
    build,
    cases,
    initial,
    inputs,
    random_state,
    start,
)
from torch import nn
from torch.utils import _pytree

from foretell.blocks.aaren import AarenBlock
from foretell.blocks.cellwise import CellwiseMixer
from foretell.blocks.conv_gated import ConvGRU, ConvLSTM
from foretell.blocks.conv_recurrent import ConvRecurrence
from foretell.blocks.hippo import hippo_matrices
from foretell.blocks.lssl import LSSL
from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM
from foretell.blocks.ngram import NgramHead, Quantiser
from foretell.blocks.persistent_attention import PersistentAttention
from foretell.blocks.protocol import active_steps
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU, LSTM, RNN
from foretell.blocks.s4d import S4D
from foretell.blocks.segments import run_segments
from foretell.blocks.sparse_recurrent import SparseRecurrent
from foretell.blocks.stack import Stack
from foretell.blocks.titans import TitansMemory
from foretell.blocks.window_attention import SlidingWindowAttention


@pytest.fixture
def without_types(monkeypatch):
    """The blocks as users run them: the annotations are not enforced."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def widths(state):
    """One state a field and axis that is too wide there; the batch, then one axis behind it."""
    leaves, spec = _pytree.tree_flatten(state)
    for place, leaf in enumerate(leaves):
        for axis in range(leaf.dim()):
            if leaf.shape[axis]:
                wide = torch.cat([leaf, leaf.narrow(axis, 0, 1)], axis)
                changed = [*leaves[:place], wide, *leaves[place + 1 :]]
                yield axis, _pytree.tree_unflatten(changed, spec)


@cases(CASES)
def test_states_of_another_shape(case, without_types):
    block, x = build(case), inputs(case, 2, 3)
    state = random_state(case, block, 2)
    free = len(case.y_space)
    for axis, wrong in widths(state):
        # The axes of a space, and the cells of a volume, may have any size.
        if free and axis > (0 if case.name.startswith("cellwise") else 1):
            if not case.name.startswith("matrix"):
                continue
        with pytest.raises(ValueError, match=r"^state.* must be \[.*\], got \[.*\]$"):
            block(x, wrong)
        if block.streamable:
            with pytest.raises(ValueError, match=r"^state.* must be \[.*\], got \[.*\]$"):
                block.step(x[:, 0], wrong)


@cases(CASES)
def test_states_of_another_number_of_rows(case, without_types):
    block, x = build(case), inputs(case, 2, 3)
    for batch in (1, 3):
        wrong = initial(case, block, batch)
        for lengths in (None, torch.tensor([3, 1])):
            with pytest.raises(ValueError, match=rf"^state.* must be \[2.*\], got \[{batch}.*\]$"):
                block(x, wrong, lengths=lengths)
        if block.streamable:
            with pytest.raises(ValueError, match=rf"^state.* must be \[2.*\], got \[{batch}.*\]$"):
                block.step(x[:, 0], wrong)


@cases(CASES)
def test_states_of_another_kind(case, without_types):
    block, x = build(case), inputs(case, 2, 3)
    for wrong in (torch.zeros(2, 1, 4), (torch.zeros(1),) * 7, (), 3.0):
        with pytest.raises(ValueError, match=r"^state must be .*got "):
            block(x, wrong)


def test_the_messages_name_field_and_sizes(without_types):
    x = torch.zeros(1, 3, DIM)
    block, other = LSTM(DIM, 4, num_layers=2), LSTM(DIM, 4)
    with pytest.raises(ValueError, match=r"^state.h must be \[1, 2, 4\], got \[1, 1, 4\]$"):
        block(x, other.init_state(1))
    with pytest.raises(ValueError, match=r"^state.h must be \[1, 2, 4\], got \[3, 2, 4\]$"):
        block.step(x[:, 0], block.init_state(3))
    with pytest.raises(
        ValueError,
        match="state must be of LSTM, a LstmState of state.h, state.c; "
        "got a RecurrentState of 1 fields",
    ):
        block(x, GRU(DIM, 4).init_state(1))
    torch_state = (torch.zeros(1, 1, 4),) * 2
    with pytest.raises(ValueError, match="got a tuple of 2 fields$"):
        other(x, torch_state)
    wrong = block.init_state(1)._replace(c=None)
    with pytest.raises(ValueError, match=r"^state.c must be a tensor, got NoneType$"):
        block(x, wrong)
    stack = Stack([GRU(DIM, 4), GRU(4, 4)])
    with pytest.raises(ValueError, match=r"^state must be a tuple of the 2 layers' states, got 1$"):
        stack(x, stack.init_state(1)[:1])


def test_a_space_that_x_does_not_have(without_types):
    block = ConvGRU(2, DIM, spatial_dims=2)
    state = block.init_state(1, spatial=(3, 4))
    for run, x in ((block, torch.zeros(1, 2, DIM, 1, 4)), (block.step, torch.zeros(1, DIM, 1, 4))):
        with pytest.raises(ValueError, match=r"^x must have the state's space \[3, 4\], got"):
            run(x, state)


@cases(STREAMABLE)
def test_steps_of_another_shape(case, without_types):
    block, x = build(case), inputs(case, 2, 3)
    state = initial(case, block, 2)
    for wrong in (x, x[:, 0, 1:], x[:, 0].flatten(), torch.cat([x[:, 0], x[:, 0]])):
        if isinstance(block, SignNgram):
            with pytest.raises(ValueError, match="must be"):
                NgramHead.step(block, wrong, state, ids=torch.zeros(len(wrong), dtype=torch.int64))
        else:
            with pytest.raises(ValueError, match="must be"):
                block.step(wrong, state)
    with pytest.raises(ValueError, match=r"init_state\(batch\)|a tuple of the .* states, got None"):
        block.step(x[:, 0], None)
    with pytest.raises(ValueError, match=r"^x_t must hold floating-point numbers, got torch.int64"):
        block.step(x[:, 0].long(), state)


@cases(CASES)
def test_lengths_resets_and_inputs_of_another_type(case, without_types):
    block, x = build(case), inputs(case, 2, 3)
    begin = start(case, block, 2)
    for lengths, got in (
        (torch.tensor([3.0, 1.0]), "torch.float32"),
        (torch.tensor([True, False]), "torch.bool"),
        ([3, 1], "list"),
        (2, "int"),
    ):
        with pytest.raises(ValueError, match=rf"^lengths must be a tensor of integers, got {got}$"):
            block(x, begin, lengths=lengths)
    for lengths in (torch.tensor([3]), torch.tensor([[3, 1]]), torch.tensor(3)):
        with pytest.raises(ValueError, match=r"^lengths must be \[2\], one a row, got"):
            block(x, begin, lengths=lengths)
    for lengths in (torch.tensor([4, 1]), torch.tensor([-1, 2])):
        with pytest.raises(ValueError, match=r"^lengths must lie in \[0, 3\], got"):
            block(x, begin, lengths=lengths)
    for reset, got in (
        (torch.zeros(2, 3), "torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int64), "torch.int64"),
        ([[False] * 3] * 2, "list"),
    ):
        with pytest.raises(ValueError, match=rf"^reset must be a tensor of bool, got {got}$"):
            block(x, begin, reset=reset)
    for shape in ((1, 3), (2, 4), (2, 1), (3,), (2, 3, 1)):
        reset = torch.zeros(shape, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"^reset must be \[2, 3\], got"):
            block(x, begin, reset=reset)
    with pytest.raises(ValueError, match=r"^x must hold floating-point numbers, got torch.int64$"):
        block(x.long(), begin)


def test_helpers_check_lengths_and_resets_too(without_types):
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="lengths must be a tensor of integers"):
        active_steps(3, lengths=torch.ones(2), like=x)
    with pytest.raises(ValueError, match="reset must be a tensor of bool"):
        run_segments(lambda *given: given[:2], x, x, x, lengths=None, reset=torch.ones(2, 3))


@cases(CASES)
def test_fields_of_an_initial_state_are_tensors_of_their_own(case):
    block = build(case)
    state = initial(case, block, 2)
    leaves = _pytree.tree_leaves(state)
    places = [t.untyped_storage().data_ptr() for t in leaves if t.numel()]
    assert len(set(places)) == len(places)
    assert len({id(t) for t in leaves}) == len(leaves)
    block.requires_grad_(False)
    leaves = [t for t in _pytree.tree_leaves(initial(case, block, 2)) if t.is_floating_point()]
    for place, leaf in enumerate(leaves):
        assert not leaf.requires_grad, f"field {place} shares its tensor with one before"
        assert leaf.requires_grad_().is_leaf


def test_gradient_of_each_field_of_an_lstm():
    """dL/dh and dL/dc are those of nn.LSTM, not their sum."""
    torch.manual_seed(0)
    block, oracle, x = LSTM(DIM, 4), nn.LSTM(DIM, 4, batch_first=True), torch.randn(2, 5, DIM)
    oracle.load_state_dict(block.core.state_dict())
    state = block.init_state(2)
    for field in state:
        field.requires_grad_()
    h, c = (torch.zeros(1, 2, 4, requires_grad=True) for _ in range(2))
    block(x, state)[0].sum().backward()
    oracle(x, (h, c))[0].sum().backward()
    torch.testing.assert_close(state.h.grad, h.grad.transpose(0, 1))
    torch.testing.assert_close(state.c.grad, c.grad.transpose(0, 1))


def test_a_seeded_memory_holds_its_chunk_start_apart():
    block = TitansMemory(DIM, chunk_size=4, seed_dim=2)
    state = block.seed_state(torch.zeros(2, 2))
    assert state.weights.data_ptr() != state.chunk_start.data_ptr()
    torch.testing.assert_close(state.weights, state.chunk_start)


EDGE = graph_from_edges(2, [(0, 1)])
SIZES = {
    "input_dim": [
        lambda: GRU(0, 3), lambda: LSTM(-1, 3), lambda: ConvGRU(2, 0), lambda: ConvLSTM(2, 0),
        lambda: ConvRecurrence(2, 0), lambda: CellwiseMixer(GRU(2, 2), 0),
        lambda: PersistentAttention(0, 1), lambda: SlidingWindowAttention(0, 1),
        lambda: SparseRecurrent(0, EDGE), lambda: TitansMemory(0),
    ],
    "rows": [lambda: MatrixGRU(0, 3), lambda: MatrixLSTM(0, 3)],
    "cols": [lambda: MatrixGRU(3, 0)],
    "dim": [lambda: NgramHead(0, 3), lambda: S4D(0, 4)],
    "num_ids": [lambda: Quantiser(0)],
}  # fmt: skip
NUMBERS = {
    "dropout": [
        lambda rate: RNN(2, 2, dropout=rate),
        lambda rate: AarenBlock(2, 1, dropout=rate),
        lambda rate: Stack([GRU(2, 2)], dropout=rate),
    ],
    "recurrent_dropout": [lambda rate: GRU(2, 2, recurrent_dropout=rate)],
    "legt_scale": [
        lambda scale: hippo_matrices("legt", 4, legt_scale=-scale),
        lambda scale: LSSL(2, 4, hippo="legt", legt_scale=-scale),
    ],
}


@pytest.mark.parametrize("argument", SIZES)
def test_sizes_below_one(argument):
    for make in SIZES[argument]:
        with pytest.raises(ValueError, match=rf"^{argument} must be at least 1, got"):
            make()


@pytest.mark.parametrize("value", [1.0, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("argument", NUMBERS)
def test_numbers_outside_their_range(argument, value):
    for make in NUMBERS[argument]:
        with pytest.raises(ValueError, match=rf"^{argument} must .*, got"):
            make(value)


@pytest.mark.parametrize("bias", [float("nan"), float("-inf")])
def test_forget_biases_that_are_not_finite(bias):
    with pytest.raises(ValueError, match=rf"^forget_bias must be finite, got {bias}$"):
        LSTM(2, 3, forget_bias=bias)


def test_an_ngram_head_cannot_step_without_ids():
    block = NgramHead(DIM, 2)
    with pytest.raises(NotImplementedError, match="looks up by ids"):
        block.step(torch.zeros(1, DIM), block.init_state(1))


@pytest.mark.parametrize("block", [NgramHead(DIM, 2), SlidingWindowAttention(DIM, 1)])
def test_blocks_without_a_seed_or_a_summary(block):
    name = type(block).__name__
    with pytest.raises(NotImplementedError, match=rf"^{name} cannot start from a vector"):
        block.seed_state(torch.zeros(1, 2))
    with pytest.raises(NotImplementedError, match=rf"^{name} has no summary of its state"):
        block.readout(block.init_state(1))
