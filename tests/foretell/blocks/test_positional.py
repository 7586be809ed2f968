import pytest
import torch

from foretell.blocks.positional import sinusoid


def test_hand_computed():
    code = sinusoid(torch.tensor([2.0], dtype=torch.float64), 4)
    expected = torch.tensor([2.0, 0.02], dtype=torch.float64)
    torch.testing.assert_close(code, torch.cat([expected.sin(), expected.cos()])[None])


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="dim must be even"):
        sinusoid(torch.zeros(1), 3)
