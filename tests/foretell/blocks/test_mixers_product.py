"""Every sequence block at every length, batch size and type: the product that the default suite
covers in part (test_mixers.py, test_mixer_rows.py).

One pass of the float64 oracle serves both types. Gradients, of the inputs, the parameters and the
initial state, are compared for all of it; for ragged rows in float64 alone. To stay within minutes,
ragged rows are those of a batch of 3, and the slowest blocks take 64 and more steps one row at a
time.
"""

import pytest
import torch
from mixer_cases import CASES, build, gradients, inputs, leaf_state, loop, same
from torch.utils import _pytree

from foretell.blocks.protocol import cat_states, index_state, state_to

GRADIENTS = {"rtol": 1e-9, "atol": 1e-8}
LENGTHS = (1, 2, 17, 37, 64, 65, 130)
SLOW = ("titans", "cellwise")
PRODUCT = [
    pytest.param(case, batch, time, id=f"{case.name}-{batch}-{time}")
    for case in CASES
    for batch in (1, 3)
    for time in LENGTHS
    if not (case.name.startswith(SLOW) and batch * time > 130)
]


def near(got, expected, *, share=1e-4):
    """Within `share` of the largest entry, or of 1."""
    pairs = zip(_pytree.tree_leaves(got), _pytree.tree_leaves(expected), strict=True)
    for one, other in pairs:
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(one.to(other), other, rtol=0.0, atol=share * scale)


def rounded(state):
    """The state in float32, with leaves of its own where it wants gradients, and these."""
    leaves, spec = _pytree.tree_flatten(state_to(state, dtype=torch.float32))
    leaves = [t.detach().requires_grad_(t.requires_grad) for t in leaves]
    return _pytree.tree_unflatten(leaves, spec), [t for t in leaves if t.requires_grad]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "batch", "time"), PRODUCT)
def test_all_forms_agree(case, batch, time):
    block, x = build(case), inputs(case, batch, time).requires_grad_()
    state, fields = leaf_state(case, block, batch)
    sources = [x, *block.parameters(), *fields]
    y, end = case.naive(block, x, state)
    expected = gradients(block, y, end, sources)
    own = block(x, state)
    same(own, (y, end), case.tolerance)
    same(gradients(block, *own, sources), expected, GRADIENTS)

    low, low_x = build(case, torch.float32), x.detach().float().requires_grad_()
    low_state, low_fields = rounded(state)
    found = low(low_x, low_state)
    assert found[0].dtype == torch.float32
    near(found, (y, end))
    near(gradients(low, *found, [low_x, *low.parameters(), *low_fields]), expected)
    if block.streamable:
        with torch.no_grad():
            same(loop(block, x, state), (y, end), case.tolerance)
            near(loop(low, low_x, low_state), (y, end))

    if batch == 1:
        return
    lengths = torch.tensor([time // 2, time, 0])
    ragged = block(x, state, lengths=lengths)
    outputs, ends = [], []
    for row, length in enumerate(lengths.tolist()):
        out, last = block(x[row : row + 1, :length], index_state(state, torch.tensor([row])))
        outputs.append(torch.cat([out, out.new_zeros(1, time - length, *out.shape[2:])], 1))
        ends.append(last)
    alone = torch.cat(outputs), cat_states(ends)
    same(ragged, alone, case.tolerance)
    same(*(gradients(block, *pair, sources) for pair in (ragged, alone)), GRADIENTS)
    near(low(low_x, low_state, lengths=lengths), alone)
