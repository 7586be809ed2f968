"""Arguments that the blocks refuse: unknown names, empty sizes, prefixes that are not there."""

import jaxtyping
import pytest
import torch
from torch import nn

from foretell.blocks.aaren import Aaren, AarenBlock
from foretell.blocks.build import build_mixer
from foretell.blocks.config import MixerConfig
from foretell.blocks.conv_gated import ConvGRU, ConvLSTM
from foretell.blocks.conv_recurrent import ConvRecurrence
from foretell.blocks.hippo import hippo_matrices, s4d_poles
from foretell.blocks.lssl import LSSL
from foretell.blocks.ngram import NgramHead
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.pruning import magnitude_masks
from foretell.blocks.random_graph import layered_graph
from foretell.blocks.recurrent import GRU, LSTM, RNN
from foretell.blocks.s4d import S4D
from foretell.blocks.stack import LRCN, Stack, build_norm
from foretell.blocks.titans import TitansMemory

CHOICES = {
    "activation": (lambda name: AarenBlock(4, 2, activation=name), "'relu', 'gelu'"),
    "pool": (lambda name: LRCN(nn.Identity(), GRU(2, 3), 1, pool=name), "'mean', 'last', 'none'"),
    "storage": (lambda name: NgramHead(2, 3, storage=name), "'auto', 'table', 'cache'"),
    "norm": (lambda name: ConvRecurrence(2, 1, norm=name), "'batch_per_step', 'batch', 'none'"),
    "layers": (
        lambda name: ConvRecurrence(2, 1, layers=name),
        "'conv_bn_relu_conv', 'conv_bn_relu'",
    ),
    "implementation": (lambda name: ConvRecurrence(2, 1, implementation=name), "'fast', 'naive'"),
    "norm of a stack": (lambda name: Stack([GRU(2, 2)], norm=name), "'none', 'layer', 'rms'"),
    "norm of a layer": (lambda name: build_norm(name, 2), "'none', 'layer', 'rms'"),
    "kind": (lambda name: build_mixer(MixerConfig(kind=name), 4), "'rnn', 'rnn_relu', 'gru', .*"),
    "hippo": (lambda name: LSSL(2, 4, hippo=name), "'legs', 'legt'"),
    "init": (lambda name: S4D(2, 4, init=name), "'lin', 'inv', 'legs', 'real'"),
    "kind of matrices": (lambda name: hippo_matrices(name, 4), "'legs', 'legt'"),
    "kind of poles": (lambda name: s4d_poles(name, 4), "'lin', 'inv', 'legs', 'real'"),
    "which": (lambda name: magnitude_masks(GRU(2, 3), 10, which=name), "'both', 'ih', 'hh'"),
    "kind of graph": (
        lambda name: layered_graph(name, 10, seed=0),
        "'barabasi_albert', 'watts_strogatz'",
    ),
}
SIZES = {
    "rnn": (lambda size: RNN(2, size), "hidden_dim"),
    "gru": (lambda size: GRU(2, 3, num_layers=size), "num_layers"),
    "lstm": (lambda size: LSTM(2, 3, num_layers=size), "num_layers"),
    "prefix features": (lambda size: PrefixLinearAttention(4, 2, feature_dim=size), "feature_dim"),
    "prefix head": (lambda size: PrefixLinearAttention(4, 2, head_dim=size), "head_dim"),
    "prefix output": (lambda size: PrefixLinearAttention(4, 2, output_dim=size), "output_dim"),
    "prefix input": (lambda size: PrefixLinearAttention(size, 1), "input_dim"),
    "conv gru": (lambda size: ConvGRU(size, 2), "channels"),
    "conv lstm": (lambda size: ConvLSTM(size, 2), "channels"),
    "conv kernel": (lambda size: ConvGRU(2, 2, kernel_size=2 * size - 1), "kernel_size"),
    "volume": (lambda size: ConvRecurrence(size, 2), "channels"),
    "volume steps": (lambda size: ConvRecurrence(2, 2, num_steps=size), "num_steps"),
    "aaren head": (lambda size: Aaren(4, 2, head_dim=size), "head_dim"),
    "aaren output": (lambda size: Aaren(4, 2, output_dim=size), "output_dim"),
    "aaren input": (lambda size: Aaren(size, 1), "input_dim"),
    "aaren seed": (lambda size: Aaren(4, 2, seed_dim=size), "seed_dim"),
    "aaren block": (lambda size: AarenBlock(4, 2, feedforward_dim=size), "feedforward_dim"),
    "titans": (lambda size: TitansMemory(4, output_dim=size), "output_dim"),
}
WIDE = {
    "aaren": lambda: Aaren(4, 2, seed_dim=4),
    "aaren pre-norm": lambda: AarenBlock(4, 2, seed_dim=4),
    "aaren post-norm": lambda: AarenBlock(4, 2, pre_norm=False, seed_dim=4),
    "prefix": lambda: PrefixLinearAttention(4, 2, feature_dim=3, seed_dim=4),
}


@pytest.fixture
def without_types(monkeypatch):
    """The blocks as users run them: the annotations, which name the choices, are not enforced."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_names(name, without_types):
    make, allowed = CHOICES[name]
    with pytest.raises(
        ValueError, match=rf"^{name.split()[0]} must be one of {allowed}, got 'foo'$"
    ):
        make("foo")


def test_unknown_axes(without_types):
    with pytest.raises(ValueError, match=r"^spatial_dims must be one of 2, 3, got 1$"):
        ConvGRU(2, 2, spatial_dims=1)


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_below_one(name, size):
    make, argument = SIZES[name]
    with pytest.raises(ValueError, match=rf"^{argument} must be at least 1, got -?\d$"):
        make(size)


@pytest.mark.parametrize(
    ("prefix_len", "got"),
    [(6, "6"), (-1, "-1"), (True, "True"), (torch.tensor([5, 6]), r"\[5, 6\]"),
     (torch.tensor([True, False]), r"\[True, False\]")],
)  # fmt: skip
def test_prefixes_that_the_call_does_not_hold(prefix_len, got, without_types):
    layer, x = PrefixLinearAttention(4, 2, feature_dim=3), torch.zeros(2, 5, 4)
    allowed = r"whole numbers in \[0, 5\], the steps of x"
    with pytest.raises(ValueError, match=rf"^prefix_len must be {allowed}, got {got}$"):
        layer(x, prefix_len=prefix_len)
    assert layer(x, prefix_len=5, lengths=torch.tensor([2, 0]))[0].shape == x.shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", WIDE)
def test_inputs_of_another_type_than_the_weights(name, dtype):
    torch.manual_seed(0)
    block, h = WIDE[name]().eval(), torch.randn(2, 4).to(dtype)
    x = torch.randn(2, 6, 4).to(dtype).requires_grad_()
    options = {"prefix_len": 2} if name == "prefix" else {}
    start = block.seed_state(h)
    y, end = block(x, start, **options)
    same, same_end = block(x.float(), block.seed_state(h.float()), **options)
    assert y.dtype == dtype and torch.equal(y, same.to(dtype))
    assert all(map(torch.equal, end, same_end)) and end[0].dtype == torch.float32
    y.sum().backward()
    assert x.grad.dtype == dtype and bool(x.grad.any())
    y_t, after = block.step(x[:, 0], end)
    same_t, same_after = block.step(x[:, 0].float(), end)
    assert y_t.dtype == dtype and torch.equal(y_t, same_t.to(dtype))
    assert all(map(torch.equal, after, same_after))
    if name == "prefix":
        assert all(map(torch.equal, block.prefill(x), block.prefill(x.float())))
