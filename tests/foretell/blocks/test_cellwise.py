"""A block on every cell of a volume."""

import pytest
import torch
from torch import nn

from foretell.blocks.cellwise import CellwiseMixer
from foretell.blocks.recurrent import GRU, LSTM
from foretell.blocks.stack import Stack
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_context import MemoryAsContext


def block_and_seed(mixer_class=GRU, batch=2):
    torch.manual_seed(0)
    block = CellwiseMixer(mixer_class(4, 5), 3).double()
    volume = torch.randn(batch, 5, 2, 3, 4, dtype=torch.float64)
    return block, volume, torch.randn(batch, 3, 3, dtype=torch.float64)


@pytest.mark.parametrize("mixer_class", [GRU, LSTM])
def test_a_step_is_the_block_on_the_gathered_cells(mixer_class):
    block, volume, x = block_and_seed(mixer_class)
    y, state = block.step(x[:, 0], block.seed_state(volume))
    repeated = x[:, 0, :, None, None, None].expand(-1, -1, 2, 3, 4)
    conv = nn.functional.conv3d(
        torch.cat([volume, repeated], 1), block.gather.weight, block.gather.bias, padding=1
    )
    for cell in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        row = conv[:, :, cell[0], cell[1], cell[2]]
        expected, _ = block.mixer.step(row, block.mixer.init_state(2))
        torch.testing.assert_close(y[:, :, cell[0], cell[1], cell[2]], expected)
    assert torch.equal(state.volume, y) and torch.equal(block.readout(state), y)
    assert state.inner.h.shape[:2] == (2, 24)


@pytest.mark.parametrize("mixer_class", [GRU, LSTM])
def test_forward_is_a_loop_with_lengths_and_resets(mixer_class):
    block, volume, x = block_and_seed(mixer_class)
    begin = block.seed_state(volume)
    y, end = block(x, begin)
    state, outputs = begin, []
    for x_t in x.unbind(1):
        y_t, state = block.step(x_t, state)
        outputs.append(y_t)
    torch.testing.assert_close(y, torch.stack(outputs, 1))
    torch.testing.assert_close(end.inner.h, state.inner.h)
    short, cut = block(x, begin, lengths=torch.tensor([3, 1]))
    assert torch.count_nonzero(short[1, 1:]) == 0
    torch.testing.assert_close(cut.volume[1], y[1, 0])
    reset = torch.tensor([[False, True, False], [False, False, False]])
    anew, _ = block(x, begin, reset=reset)
    fresh, _ = block(x[:1, 1:], block.init_state(1, spatial=(2, 3, 4)))
    torch.testing.assert_close(anew[0, 1:], fresh[0])
    torch.testing.assert_close(anew[1], y[1])
    empty, same = block(x[:, :0], begin)
    assert empty.shape == (2, 0, 5, 2, 3, 4) and same is begin


def test_content_moves_between_cells_and_gradient_crosses_steps():
    block, volume, x = block_and_seed()
    volume.requires_grad_()
    y, _ = block(x[:, :2], block.seed_state(volume))
    (grad,) = torch.autograd.grad(y[0, 1, :, 0, 0, 0].sum(), volume)
    reached = grad[0].abs().sum(0) > 0
    assert reached[0, 2, 2] and not reached[0, 2, 3] and torch.count_nonzero(grad[1]) == 0


def test_what_it_cannot_do_is_named():
    with pytest.raises(ValueError, match="GRU cannot step"):
        CellwiseMixer(GRU(4, 5, bidirectional=True), 3)
    for mixer in (TitansMemory(4), MemoryAsContext(4, 2), Stack([TitansMemory(4)])):
        with pytest.raises(ValueError, match=r"would keep \d+ numbers in every cell"):
            CellwiseMixer(mixer, 3)
    block, _, x = block_and_seed()
    with pytest.raises(ValueError, match="start a volume recurrence from seed_state"):
        block(x)
    with pytest.raises(ValueError, match="start from seed_state"):
        block.init_state(2)
