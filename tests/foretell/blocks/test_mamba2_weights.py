"""Published weights: against transformers' torch mixer, and the report of what was copied."""

import pytest
import torch

from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.mamba2_weights import OWN_NAMES, LoadReport, load_mamba2_weights
from foretell.blocks.stack import Stack

SIZES = {"head_dim": 4, "num_groups": 2, "expand": 2}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return Mamba2(8, 6, **SIZES | options)


def published(block, prefix=""):
    """The block's weights under the names of state-spaces."""
    own = dict(block.named_parameters())
    names = {theirs: own[ours].detach() for theirs, ours in OWN_NAMES.items() if ours in own}
    names["conv1d.weight"] = names["conv1d.weight"][:, None]
    return {prefix + name: value for name, value in names.items()}


def test_every_name_is_copied():
    source, block = build(1, bias=True), build(2, bias=True)
    report = load_mamba2_weights(block, published(source))
    assert report == LoadReport(tuple(sorted(OWN_NAMES)), (), ())
    x = torch.randn(2, 9, 8)
    assert torch.equal(block(x)[0], source(x)[0])


@pytest.mark.parametrize("prefix", ["backbone.layers.3.mixer", "backbone.layers.3.mixer."])
def test_a_layer_of_a_model(prefix):
    source, block = build(1), build(2)
    model = published(source, "backbone.layers.3.mixer.") | published(
        build(3), "backbone.layers.30.mixer."
    )
    model["backbone.layers.3.norm.weight"] = torch.ones(8)
    report = load_mamba2_weights(block, model, prefix=prefix)
    assert not report.missing and not report.unexpected
    assert all(map(torch.equal, block.parameters(), source.parameters()))


def test_a_misfit_changes_nothing():
    block = build(2)
    before = [p.detach().clone() for p in block.parameters()]
    weights = published(build(1, bias=True))
    del weights["D"]
    with pytest.raises(ValueError, match=r"missing \['D'\], unexpected \['in_proj.bias'.*partial"):
        load_mamba2_weights(block, weights)
    wrong = published(build(1)) | {"dt_bias": torch.zeros(3)}
    for partial in (False, True):
        with pytest.raises(ValueError, match=r"dt_bias must have shape \(4,\), got \(3,\)"):
            load_mamba2_weights(block, wrong, partial=partial)
    with pytest.raises(ValueError, match=r"got ''; layers found behind \['mixer\.'\]"):
        load_mamba2_weights(block, published(build(1), "mixer."), partial=True)
    assert all(map(torch.equal, block.parameters(), before))


def test_partial_reports_the_rest():
    block = build(2)
    skip = block.skip.detach().clone()
    weights = published(build(1, bias=True))
    del weights["D"]
    weights["A_log"] = weights["A_log"] + 1
    report = load_mamba2_weights(block, weights, partial=True)
    assert report.missing == ("D",) and report.unexpected == ("in_proj.bias", "out_proj.bias")
    assert torch.equal(block.skip, skip)
    assert torch.equal(block.log_decay_rate, weights["A_log"])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("time", [1, 13, 70])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_transformers(groups, time, bias):
    """Values to 1e-5 and gradients of inputs and weights, from copied weights."""
    pytest.importorskip("transformers")
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=16, num_heads=8, head_dim=4, state_size=6, n_groups=groups, expand=2,
        chunk_size=16, use_bias=bias, num_hidden_layers=1, time_step_limit=(0.0, float("inf")),
    )  # fmt: skip
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    block = Mamba2(16, 6, head_dim=4, num_groups=groups, bias=bias)
    report = load_mamba2_weights(block, theirs.state_dict())
    assert not report.missing and not report.unexpected

    x = torch.randn(2, time, 16, requires_grad=True)
    weight = torch.randn(2, time, 16)
    expected, (y, _) = theirs(x), block(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    own = dict(block.named_parameters())
    pairs = [(p, own[OWN_NAMES[name]]) for name, p in theirs.named_parameters()]
    grads = [
        torch.autograd.grad((out * weight).sum(), [x, *parameters])
        for out, parameters in zip((expected, y), zip(*pairs, strict=True), strict=True)
    ]
    for theirs_grad, own_grad in zip(*grads, strict=True):
        torch.testing.assert_close(own_grad, theirs_grad.reshape_as(own_grad), rtol=1e-5, atol=1e-5)


def test_a_stack_is_the_layers_of_a_whole_model():
    """As docs/blocks.md does it, against transformers' model from embeddings to the last layer."""
    pytest.importorskip("transformers")
    from transformers import Mamba2Config, Mamba2Model

    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=16, num_heads=8, head_dim=4, state_size=6, n_groups=1, expand=2, chunk_size=16,
        num_hidden_layers=3, vocab_size=11, time_step_limit=(0.0, float("inf")),
    )  # fmt: skip
    theirs = Mamba2Model(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    weights = {f"backbone.{name}": value for name, value in theirs.state_dict().items()}
    stack = Stack([Mamba2(16, 6, head_dim=4) for _ in range(3)], norm="rms")
    for number, (layer, norm) in enumerate(zip(stack.mixers, stack.norms, strict=True)):
        load_mamba2_weights(layer, weights, prefix=f"backbone.layers.{number}.mixer")
        norm.weight.data.copy_(weights[f"backbone.layers.{number}.norm.weight"])
        norm.eps = config.layer_norm_epsilon
    x = torch.randn(2, 21, 16)
    with torch.no_grad():
        y = theirs.norm_f(stack(x)[0])
        expected = theirs(inputs_embeds=x, use_cache=False).last_hidden_state
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
