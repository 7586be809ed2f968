"""Long sequences on a CPU run block after block and give the numbers of one pass."""

import pytest
import torch
from mixer_cases import CASES, build, cases, gradients, inputs, leaf_state, same

from foretell.blocks import mamba2, time_invariant, titans, titans_blocks, window_attention
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.time_invariant import TimeInvariantMixer
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.window_attention import SlidingWindowAttention

MODULES = (mamba2, time_invariant, titans, titans_blocks, window_attention)
KINDS = (Mamba2, TimeInvariantMixer, TitansMemory, MemoryAsGate, MemoryAsLayer,
         SlidingWindowAttention)  # fmt: skip
BLOCKWISE = [
    case
    for case in CASES
    if isinstance(block := build(case), KINDS)
    and max(getattr(block, name, None) or 1 for name in ("block_size", "chunk_size")) <= 16
]


def set_block(patch, size):
    for module in MODULES:
        patch.setattr(module, "TIME_BLOCK", size)


def test_every_kind_is_covered():
    assert all(any(isinstance(build(case), kind) for case in BLOCKWISE) for kind in KINDS)


@cases(BLOCKWISE)
@pytest.mark.parametrize("lengths", [None, [21, 9], [0, 8]])
@pytest.mark.parametrize("resets", [None, [[8, 11], []], [[0], [16]]])
def test_blocks_equal_one_pass(case, lengths, resets, monkeypatch):
    block, x = build(case), inputs(case, 2, 21).requires_grad_()
    state, fields = leaf_state(case, block, 2)
    sizes = None if lengths is None else torch.tensor(lengths)
    reset = None
    if resets is not None:
        reset = torch.zeros(2, 21, dtype=torch.bool)
        for row, steps in enumerate(resets):
            reset[row, steps] = True
    found, calls, split = [], [], torch.Tensor.split

    def spy(tensor, size, dim=0):
        calls[-1] += dim == 1
        return split(tensor, size, dim)

    monkeypatch.setattr(torch.Tensor, "split", spy)
    for size in (256, 8):
        set_block(monkeypatch, size)
        calls.append(0)
        y, end = block(x, state, lengths=sizes, reset=reset)
        found.append((y, end, gradients(block, y, end, [x, *block.parameters(), *fields])))
    assert resets or calls[0] < calls[1]
    same(*found, {"rtol": 1e-9, "atol": 1e-9})


def test_lengths_beyond_the_sequence_are_refused(monkeypatch):
    set_block(monkeypatch, 8)
    block = Mamba2(8, 4, head_dim=4)
    with pytest.raises(ValueError, match="lengths"):
        block(torch.zeros(2, 21, 8), lengths=torch.tensor([21, 22]))
