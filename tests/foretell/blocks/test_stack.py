"""Residual stacks and LRCN."""

import pytest
import torch
from torch import nn

from foretell.blocks.aaren import Aaren
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.ngram import NgramHead
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.random_graph import graph_from_edges
from foretell.blocks.recurrent import GRU, LSTM
from foretell.blocks.sparse_recurrent import SparseRecurrent
from foretell.blocks.stack import LRCN, Stack, TimeDistributed
from foretell.blocks.titans_blocks import MemoryAsGate
from foretell.blocks.titans_context import MemoryAsContext


def test_a_layer_adds_to_its_input():
    torch.manual_seed(0)
    stack = Stack([GRU(3, 4), GRU(4, 4)]).eval()
    x = torch.randn(2, 5, 3)
    first, second = stack.mixers
    a, _ = first(stack.norms[0](x))  # 3 -> 4: no skip
    b, _ = second(stack.norms[1](a))
    torch.testing.assert_close(stack(x)[0], a + b)
    assert torch.equal(stack.readout(stack(x)[1]), stack(x)[1][-1].h[:, -1])


def test_dropout_is_for_training_and_spares_the_last_output_without_a_skip():
    torch.manual_seed(0)
    plain = Stack([LSTM(3, 8), LSTM(8, 8)], norm="none", residual=False, dropout=0.5)
    y, _ = plain(torch.randn(2, 5, 3))
    assert not (y == 0).any()
    plain.eval()
    x = torch.randn(2, 5, 3)
    assert torch.equal(plain(x)[0], plain(x)[0])


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.filterwarnings("error")
def test_inputs_of_another_type_than_the_norms(norm, weights, dtype):
    torch.manual_seed(0)
    stack = Stack([GRU(3, 4), LSTM(4, 4), GRU(4, 4)], norm=norm, feedforward_dim=5)
    x = torch.randn(2, 5, 3).to(dtype)
    expected, _ = stack.double()(x.double())
    stack = stack.to(weights)
    x.requires_grad_()
    y, state = stack(x)
    y_t, _ = stack.step(x[:, 0], stack.init_state(2))
    assert y.dtype == y_t.dtype == dtype and state[0].h.dtype != torch.bfloat16
    low = torch.bfloat16 in (weights, dtype) or dtype == torch.float16
    tolerance = 6e-2 if low else 1e-5
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(y_t, y[:, 0], rtol=0, atol=tolerance)
    y.double().sum().backward()
    assert x.grad.dtype == dtype and torch.isfinite(x.grad).all() and x.grad.any()
    assert all(torch.isfinite(weight.grad).all() for weight in stack.parameters())


def test_an_mlp_follows_every_mixer_and_agrees_step_by_step():
    torch.manual_seed(0)
    stack = Stack([GRU(3, 4), GRU(4, 4)], norm="rms", feedforward_dim=6)
    x = torch.randn(2, 5, 3)
    first, _ = stack.mixers[0](stack.norms[0](x))  # 3 -> 4: no skip
    first = first + stack.mlps[0](first)
    second = first + stack.mixers[1](stack.norms[1](first))[0]
    norm, expand, _, contract = stack.mlps[1]
    assert isinstance(norm, nn.RMSNorm) and expand.out_features == 6
    expected = second + contract(nn.functional.gelu(expand(norm(second))))
    y, state = stack(x)
    torch.testing.assert_close(y, expected)
    carried, outputs = stack.init_state(2), []
    for x_t in x.unbind(1):
        y_t, carried = stack.step(x_t, carried)
        outputs.append(y_t)
    torch.testing.assert_close((torch.stack(outputs, 1), carried), (y, state))
    padded, _ = stack(x, lengths=torch.tensor([2, 0]))
    assert not padded[0, 2:].any() and not padded[1].any()
    plain = Stack([GRU(3, 4)], norm="none", residual=False, feedforward_dim=6)
    torch.testing.assert_close(plain(x)[0], plain.mlps[0](plain.mixers[0](x)[0]))
    before = [weight.clone() for weight in stack.parameters()]
    torch.manual_seed(1)
    stack.reset_parameters()
    changed = [not torch.equal(a, b) for a, b in zip(before, stack.parameters(), strict=True)]
    assert sum(changed) == len([w for w in stack.parameters() if not bool((w == 1).all())])


def test_keywords_reach_the_layers_that_take_them():
    torch.manual_seed(0)
    stack = Stack([NgramHead(4, 2), PrefixLinearAttention(4, 2, feature_dim=2), Stack([GRU(4, 4)])])
    x, ids = torch.randn(2, 6, 4), torch.tensor([[0, 1, 0, 1, 1, 0]] * 2)
    y, state = stack(x, ids=ids, prefix_len=3)
    heads, attention, inner = stack.mixers
    a = x + heads(stack.norms[0](x), ids=ids)[0]
    b = a + attention(stack.norms[1](a), prefix_len=3)[0]
    torch.testing.assert_close(y, b + inner(stack.norms[2](b))[0])
    nested = Stack([stack], norm="none", residual=False)
    torch.testing.assert_close(nested(x, ids=ids, prefix_len=3)[0], y)
    x_t = torch.randn(2, 4)
    longer, _ = stack(torch.cat([x, x_t[:, None]], 1), ids=torch.cat([ids, ids[:, :1]], 1),
                      prefix_len=3)  # fmt: skip
    torch.testing.assert_close(stack.step(x_t, state, ids=ids[:, 0])[0], longer[:, -1])
    with pytest.raises(ValueError, match=r"takes 'idz'; .*: ids, prefix_len, prefix_output"):
        stack(x, idz=ids)
    with pytest.raises(ValueError, match="takes 'ids'; keywords beyond x: none"):
        Stack([GRU(4, 4)]).step(x_t, (None,), ids=ids)


def test_a_seed_fills_the_layers_that_take_one():
    torch.manual_seed(0)
    layers = [GRU(4, 4, num_layers=2), Mamba2(4, 2, head_dim=2), Aaren(4, 2, seed_dim=3),
              MemoryAsGate(4, 2, window=3, seed_dim=2), MemoryAsContext(4, 2, seed_dim=1),
              SparseRecurrent(4, graph_from_edges(4, [(0, 2), (1, 3), (0, 3)]))]  # fmt: skip
    stack = Stack(layers)
    widths = [8, 0, 3, 2, 1, stack.mixers[-1].seed_dim]
    h = torch.randn(2, sum(widths))
    assert stack.seed_dim == sum(widths)
    parts = h.split(widths, 1)
    for mixer, part, own in zip(layers, parts, stack.seed_state(h), strict=True):
        expected = mixer.seed_state(part) if part.shape[1] else mixer.init_state(2)
        torch.testing.assert_close(own, expected)
    two, one = Stack([GRU(3, 4), GRU(4, 4)]), GRU(3, 4, num_layers=2)
    assert two.seed_dim == one.seed_dim == 8
    with pytest.raises(ValueError, match=f"seed must have width {sum(widths)}, got 4"):
        stack.seed_state(h[:, :4])
    with pytest.raises(ValueError, match="no layer of the stack takes a seed"):
        Stack([Mamba2(4, 2, head_dim=2)]).seed_state(h)


def test_widths_must_fit():
    with pytest.raises(ValueError, match="a layer gives 4, the next takes 5"):
        Stack([GRU(3, 4), GRU(5, 4)])
    with pytest.raises(ValueError, match="at least one mixer"):
        Stack([])
    with pytest.raises(ValueError, match="feedforward_dim must be at least 1, got 0"):
        Stack([GRU(3, 4)], feedforward_dim=0)


def test_folded_frames_equal_a_loop():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    x = torch.randn(2, 5, 3, 6, 7)
    folded = TimeDistributed(encoder)(x)
    loop = torch.stack([encoder(frame) for frame in x.unbind(1)], 1)
    torch.testing.assert_close(folded, loop)


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_lrcn_pools_valid_steps_alone(pool):
    torch.manual_seed(0)
    model = LRCN(nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), LSTM(3, 4), 2, pool=pool)
    x, lengths = torch.randn(3, 5, 2, 4), torch.tensor([5, 2, 0])
    answer, state = model(x, lengths=lengths)
    y, end = model.mixer(model.frames(x), lengths=lengths)
    assert torch.equal(state.h, end.h)
    if pool == "none":
        torch.testing.assert_close(answer, model.head(y))
        return
    for row, length in enumerate([5, 2]):
        steps = model.head(y[row, :length])
        torch.testing.assert_close(answer[row], steps.mean(0) if pool == "mean" else steps[-1])
    torch.testing.assert_close(answer[2], model.head.bias)
    whole, _ = model(x)
    expected = model.head(model.mixer(model.frames(x))[0])
    torch.testing.assert_close(whole, expected.mean(1) if pool == "mean" else expected[:, -1])


def test_lrcn_steps_and_resets_frame_by_frame():
    torch.manual_seed(0)
    model = LRCN(nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), LSTM(3, 4), 2, pool="none")
    x, reset = torch.randn(2, 5, 2, 4), torch.zeros(2, 5, dtype=torch.bool)
    reset[1, 3] = True
    expected, end = model(x, reset=reset)
    state, answers = model.init_state(2), []
    for t, x_t in enumerate(x.unbind(1)):
        begun = model.init_state(2)
        state = type(state)(*(
            torch.where(reset[:, t].view(-1, 1, 1), new, old)
            for new, old in zip(begun, state, strict=True)
        ))  # fmt: skip
        answer, state = model.step(x_t, state)
        answers.append(answer)
    torch.testing.assert_close(torch.stack(answers, 1), expected)
    torch.testing.assert_close(state, end)
    with pytest.raises(ValueError, match="would mix sequences"):
        LRCN(nn.Flatten(), LSTM(8, 4), 2)(x, reset=reset)
