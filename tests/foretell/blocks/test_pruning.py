"""Which weights are pruned, and what masks do to a layer."""

import copy

import numpy as np
import pytest
import torch
from pruning_cells import CELLS, LAYOUTS, build, series
from torch import nn
from torch.nn.utils import parametrize

from foretell.blocks.pruning import apply_masks, gradual_percent, magnitude_masks, remove_masks
from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN

PERCENTS = [0, 10, 33.3, 50, 70, 97.5, 100]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.mixers = nn.ModuleList([nn.GRU(3, 5), nn.LSTM(5, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, symbols):
        x = self.embed(symbols)
        for mixer in self.mixers:
            x, _ = mixer(x)
        return self.head(x[-1])


def matrices(module, which="both"):
    starts = {"both": ("weight_ih", "weight_hh"), "ih": ("weight_ih",), "hh": ("weight_hh",)}
    return {
        name: weight.detach()
        for name, weight in module.named_parameters()
        if name.split(".")[-1].startswith(starts[which])
    }


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("percent", PERCENTS)
@pytest.mark.parametrize("which", ["both", "ih", "hh"])
def test_masks_equal_numpy_percentile(cell, percent, which):
    module = build(cell, num_layers=2, bidirectional=True)
    weights = matrices(module, which)
    masks = magnitude_masks(module, percent, which=which)
    assert list(masks) == list(weights)
    flat = np.concatenate([w.double().abs().numpy().ravel() for w in weights.values()])
    threshold = np.percentile(flat, percent)
    for name, weight in weights.items():
        expected = weight.double().abs().numpy() >= threshold
        np.testing.assert_array_equal(masks[name].numpy(), expected)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == len(flat) - int(np.ceil((len(flat) - 1) * percent / 100 - 1e-9))


def test_hand_computed_and_ties():
    rnn = nn.RNN(2, 1, bias=True)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(torch.tensor([[-3.0, 1.0]]))
        rnn.weight_hh_l0.copy_(torch.tensor([[2.0]]))
        rnn.bias_ih_l0.fill_(0.0)
    masks = magnitude_masks(rnn, 50)
    assert masks["weight_ih_l0"].tolist() == [[True, False]]
    assert masks["weight_hh_l0"].tolist() == [[True]]
    assert magnitude_masks(rnn, 51)["weight_hh_l0"].tolist() == [[False]]
    nn.init.constant_(rnn.weight_ih_l0, -2.0)
    assert all(mask.all() for mask in magnitude_masks(rnn, 100).values())


def test_one_threshold_for_all_submodules():
    module = Classifier()
    nn.init.constant_(module.mixers[0].weight_ih_l0, 9.0)
    masks = magnitude_masks(module, 60)
    assert set(masks) == {f"mixers.{i}.weight_{kind}_l0" for i in (0, 1) for kind in ("ih", "hh")}
    assert masks["mixers.0.weight_ih_l0"].all()
    shares = [mask.double().mean().item() for mask in masks.values()]
    assert max(shares) - min(shares) > 0.1
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == pytest.approx(0.4 * total, abs=1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", LAYOUTS)
def test_forward_follows_every_mask(cell, options):
    module = build(cell, **options)
    reference = build(cell, **options)
    x = series()
    module(x)  # nn.RNNBase has cached its weights by now
    generator = torch.Generator().manual_seed(1)
    for share in (0.3, 0.6):
        masks = {
            name: torch.rand(w.shape, generator=generator) > share
            for name, w in matrices(reference).items()
        }
        apply_masks(module, masks)
        pruned = build(cell, **options)
        with torch.no_grad():
            for name, mask in masks.items():
                getattr(pruned, name).mul_(mask)
        torch.testing.assert_close(module(x)[0], pruned(x)[0], rtol=0, atol=1e-7)
        with torch.no_grad():
            torch.testing.assert_close(module(x)[0], pruned(x)[0], rtol=0, atol=1e-7)
    for name, mask in masks.items():  # one matrix at a time back to dense
        before = module(x)[0]
        apply_masks(module, {name: torch.ones_like(mask)})
        assert not torch.allclose(module(x)[0], before, rtol=0, atol=1e-5), name
    torch.testing.assert_close(module(x)[0], reference(x)[0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_percent_0_changes_nothing(cell):
    module, dense = build(cell), build(cell)
    apply_masks(module, magnitude_masks(module, 0))
    torch.testing.assert_close(module(series())[0], dense(series())[0], rtol=0, atol=0)


def test_percent_100_leaves_the_largest_weight():
    module = build("lstm")
    apply_masks(module, magnitude_masks(module, 100))
    assert sum(int((getattr(module, n) != 0).sum()) for n in magnitude_masks(module, 0)) == 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", LAYOUTS)
def test_gradients(cell, options):
    module = build(cell, **options).double()
    masks = magnitude_masks(module, 60)
    apply_masks(module, masks)
    pruned = build(cell, **options).double()
    with torch.no_grad():
        for name, mask in masks.items():
            getattr(pruned, name).mul_(mask)
    x = [series().double().requires_grad_() for _ in range(2)]
    for model, inputs in zip((module, pruned), x, strict=True):
        model(inputs)[0].square().sum().backward()
    torch.testing.assert_close(x[0].grad, x[1].grad, rtol=0, atol=1e-12)
    for name, weight in pruned.named_parameters():
        if name in masks:
            grad = module.parametrizations[name].original.grad
            assert (grad[~masks[name]] == 0).all()
            torch.testing.assert_close(grad, weight.grad * masks[name], rtol=0, atol=1e-12)
        else:
            torch.testing.assert_close(getattr(module, name).grad, weight.grad)


def test_diverged_masked_weights_do_no_harm():
    module = build("lstm")
    masks = magnitude_masks(module, 50)
    apply_masks(module, masks)
    with torch.no_grad():
        for name, mask in masks.items():
            module.parametrizations[name].original[~mask] = float("nan")
    module(series())[0].sum().backward()
    for name in masks:
        assert module.parametrizations[name].original.grad.isfinite().all()


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.AdamW])
def test_masks_survive_training(optimiser):
    torch.manual_seed(0)
    module = Classifier()
    symbols, labels = torch.randint(7, (6, 8)), torch.randint(2, (8,))
    adam = optimiser(module.parameters(), lr=1e-2, weight_decay=0.1)
    masks = {}
    for step in range(6):
        if step in (1, 3):  # the same optimiser before and after; a second, sharper mask
            masks = magnitude_masks(module, 20 * step)
            apply_masks(module, masks)
        before = {name: w.detach().clone() for name, w in effective(module).items()}
        adam.zero_grad()
        nn.functional.cross_entropy(module(symbols), labels).backward()
        adam.step()
        for name, weight in effective(module).items():
            mask = masks.get(name, torch.ones_like(weight, dtype=torch.bool))
            assert (weight[~mask] == 0).all()
            assert (weight[mask] != before[name][mask]).all()


def effective(module):
    return {
        f"mixers.{i}.weight_{kind}_l0": getattr(mixer, f"weight_{kind}_l0")
        for i, mixer in enumerate(module.mixers)
        for kind in ("ih", "hh")
    }


def test_weights_pruned_once_stay_pruned():
    module = build("gru")
    first = magnitude_masks(module, 40)
    apply_masks(module, first)
    second = magnitude_masks(module, 60)
    assert all((first[name] | ~second[name]).all() for name in first)


@pytest.mark.parametrize("cell", CELLS)
def test_remove_masks(cell):
    module = build(cell, num_layers=2)
    parameters = {id(p) for p in module.parameters()}
    masks = magnitude_masks(module, 70)
    apply_masks(module, masks)
    expected = module(series())[0]
    remove_masks(module)
    assert type(module) is type(build(cell))
    assert {id(p) for p in module.parameters()} == parameters
    assert set(module.state_dict()) == set(build(cell, num_layers=2).state_dict())
    for name, mask in masks.items():
        assert (getattr(module, name)[~mask] == 0).all()
    torch.testing.assert_close(copy.deepcopy(module)(series())[0], expected, rtol=0, atol=0)
    module(series())[0].square().sum().backward()
    for name in masks:
        assert (getattr(module, name).grad != 0).any()
    remove_masks(module)  # nothing left to do


def test_other_parametrizations_stay():
    module = nn.ModuleList([nn.Linear(2, 2), build("gru")])
    nn.utils.parametrizations.weight_norm(module[0])
    apply_masks(module, {f"1.{k}": m for k, m in magnitude_masks(module[1], 50).items()})
    remove_masks(module)
    assert parametrize.is_parametrized(module[0]) and not parametrize.is_parametrized(module[1])


@pytest.mark.parametrize("block", [RNN, ReluRNN, GRU, LSTM])
@pytest.mark.parametrize("options", [*LAYOUTS, {"recurrent_dropout": 0.5}])
def test_own_recurrent_blocks(block, options):
    torch.manual_seed(0)
    module = block(3, 5, **options).eval()
    stock = {"rnn_tanh": "rnn", "rnn_relu": "relu"}.get(block.kind, block.kind)
    reference = CELLS[stock](**{k: v for k, v in options.items() if k != "recurrent_dropout"})
    reference.load_state_dict(module.core.state_dict())
    x, lengths = series(), torch.tensor([4, 2])
    dense = module(x, lengths=lengths)[0]
    masks = magnitude_masks(module, 70)
    apply_masks(module, masks)
    apply_masks(reference, {name.removeprefix("core."): mask for name, mask in masks.items()})
    pruned = module(x, lengths=lengths)[0]
    assert not torch.allclose(pruned, dense, rtol=0, atol=1e-3)
    torch.testing.assert_close(pruned[:1], reference(x[:1])[0], rtol=0, atol=1e-6)
    pruned.sum().backward()
    for name, mask in masks.items():
        parameter = module.core.parametrizations[name.removeprefix("core.")].original
        assert (parameter.grad[~mask] == 0).all()
    twin = copy.deepcopy(module)
    remove_masks(twin)
    torch.testing.assert_close(twin(x, lengths=lengths)[0], pruned, rtol=0, atol=1e-6)
    if module.streamable:
        y, state = [], module.init_state(2)
        for x_t in x.unbind(1):
            y_t, state = module.step(x_t, state)
            y.append(y_t)
        torch.testing.assert_close(torch.stack(y, 1)[0], pruned[0], rtol=0, atol=1e-6)


def test_any_parameter_can_be_masked():
    layer = nn.Linear(2, 2)
    apply_masks(layer, {"weight": torch.eye(2, dtype=torch.bool), "bias": torch.zeros(2).bool()})
    x = torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(layer(x), x * layer.weight.diagonal())
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize(
    "progress, expected", [(0.0, 10.0), (0.25, 90 - 80 * 27 / 64), (0.5, 80.0), (1.0, 90.0)]
)
def test_gradual_percent(progress, expected):
    assert gradual_percent(progress, 10.0, 90.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: magnitude_masks(m, 101), "percent must lie in .0, 100., got 101"),
        (
            lambda m: magnitude_masks(nn.Linear(2, 2), 10),
            "module must hold matrices named weight_ih_.* got Linear",
        ),
        (lambda m: apply_masks(m, {"weight": torch.ones(2).bool()}), "got 'weight'"),
        (
            lambda m: apply_masks(m, {"weight_hh_l0": torch.ones(2, 5).bool()}),
            r"got \(2, 5\) for 'weight_hh_l0' of shape \(20, 5\)",
        ),
        (lambda m: gradual_percent(1.1, 0.0, 1.0), "progress must lie in .0, 1., got 1.1"),
    ],
)
def test_bad_arguments(call, message):
    module = build("lstm")
    for _ in range(2):  # before and after masking
        with pytest.raises(ValueError, match=message):
            call(module)
        apply_masks(module, magnitude_masks(module, 10))


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_on_the_gpu(cell):
    module = build(cell, num_layers=2, bidirectional=True)
    masks = magnitude_masks(module, 70)
    apply_masks(module, masks)
    expected = module(series())[0]
    module.cuda()
    for _ in range(2):
        actual = module(series().cuda())[0]
        torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=1e-5)
        actual.sum().backward()
    for name, mask in masks.items():
        assert (module.parametrizations[name].original.grad.cpu()[~mask] == 0).all()
