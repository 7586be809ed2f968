"""Long sequences on a CPU run block after block and give the numbers of one pass."""

import pytest
import torch
from mixer_cases import CASES, build, cases, gradients, inputs, leaf_state, same

from foretell.blocks import segments
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.window_attention import SlidingWindowAttention

BLOCKWISE = [case for case in CASES if isinstance(build(case), Mamba2 | SlidingWindowAttention)]


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
    found = []
    for size in (64, 8):
        monkeypatch.setattr(segments, "TIME_BLOCK", size)
        y, end = block(x, state, lengths=sizes, reset=reset)
        found.append((y, end, gradients(block, y, end, [x, *block.parameters(), *fields])))
    same(*found, {"rtol": 1e-9, "atol": 1e-9})


def test_lengths_beyond_the_sequence_are_refused(monkeypatch):
    monkeypatch.setattr(segments, "TIME_BLOCK", 8)
    block = Mamba2(8, 4, head_dim=4)
    with pytest.raises(ValueError, match="lengths"):
        block(torch.zeros(2, 21, 8), lengths=torch.tensor([21, 22]))
