"""A loss beside a prefix: where outputs are causal, and where a loss is refused."""

import pytest
import torch

from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.prefix_loss import check_prefix_loss, prefix_loss_mask


@pytest.mark.parametrize("prefix_len", [0, 3, 6, torch.tensor([0, 4])])
def test_the_mask_is_where_no_output_sees_a_later_input(prefix_len):
    torch.manual_seed(0)
    block = PrefixLinearAttention(4, 2, feature_dim=2)
    x = torch.randn(2, 6, 4, requires_grad=True)
    y, _ = block(x, prefix_len=prefix_len, prefix_output="return")
    causal = torch.ones(2, 6, dtype=torch.bool)
    for step in range(5):
        grad = torch.autograd.grad(y[:, step].sum(), x, retain_graph=True)[0]
        causal[:, step] = ~grad[:, step + 1 :].flatten(1).any(1)
    mask = prefix_loss_mask(prefix_len, 6).expand(2, 6)
    # The last step of a prefix has no later input in it; a loss there would ask for the next one.
    last = torch.as_tensor(prefix_len).expand(2)
    causal[torch.arange(2)[last > 0], last[last > 0] - 1] = False
    assert torch.equal(mask, causal)


def test_a_loss_on_the_prefix_is_refused():
    scored = torch.tensor([[False, False, True, True], [False, True, False, True]])
    check_prefix_loss(scored, torch.tensor([2, 1]))
    check_prefix_loss(scored & prefix_loss_mask(3, 4), 3)
    with pytest.raises(ValueError, match="got True at step 1 of row 1: .*prefix_loss_mask"):
        check_prefix_loss(scored, 2)
    with pytest.raises(ValueError, match=r"prefix_len must lie in \[0, 4\], .*, got \[5, 0\]"):
        check_prefix_loss(scored, torch.tensor([5, 0]))
