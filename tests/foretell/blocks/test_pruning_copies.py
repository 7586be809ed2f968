"""Masks in copies: state dicts, deepcopy, pickle, other types."""

import copy
import pickle

import pytest
import torch
from pruning_cells import CELLS, build, series
from torch import nn
from torch.nn.utils import parametrize

from foretell.blocks.pruning import apply_masks, magnitude_masks, remove_masks


@pytest.mark.parametrize("cell", CELLS)
def test_state_dict(cell):
    module, other = build(cell), CELLS[cell]()
    apply_masks(module, magnitude_masks(module, 70))
    apply_masks(other, magnitude_masks(other, 0))
    assert "parametrizations.weight_hh_l0.0.mask" in module.state_dict()
    other(series())
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(series())[0], module(series())[0], rtol=0, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_deepcopy(cell):
    module = build(cell, bidirectional=True)
    apply_masks(module, magnitude_masks(module, 70))
    x = series()
    expected = module(x)[0]  # leaves products with a graph behind
    twin = copy.deepcopy(copy.deepcopy(nn.ModuleList([module])))[0]
    torch.testing.assert_close(twin(x)[0], expected, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(module(x)[0], expected, rtol=0, atol=0)
    assert not torch.allclose(twin(x)[0], expected)
    remove_masks(twin)
    assert parametrize.is_parametrized(module) and not parametrize.is_parametrized(twin)
    torch.testing.assert_close(module(x)[0], expected, rtol=0, atol=0)
    apply_masks(module, magnitude_masks(module, 90))
    assert not torch.allclose(module(x)[0], expected)


def test_shared_module_is_copied_once():
    shared = build("lstm")
    apply_masks(shared, magnitude_masks(shared, 50))
    twins = copy.deepcopy(nn.ModuleList([shared, shared]))
    assert twins[0] is twins[1] is not shared


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("which", ["both", "ih"])
def test_pickle(cell, which):
    module = build(cell, num_layers=2, bidirectional=True)
    apply_masks(module, magnitude_masks(module, 60, which=which))
    expected, _ = module(series())
    holder = nn.ModuleList([module, module])
    twins = pickle.loads(pickle.dumps(holder))
    assert twins[0] is twins[1]
    twin = twins[0]
    names = [name for name, _ in module.named_parameters()]
    assert [name for name, _ in twin.named_parameters()] == names
    torch.testing.assert_close(twin(series())[0], expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(twin)(series())[0], expected, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert not torch.equal(twin(series())[0], expected)
    torch.testing.assert_close(module(series())[0], expected, rtol=0, atol=0)
    for name in module.parametrizations:
        assert torch.equal(getattr(twin, name) == 0, getattr(module, name) == 0)


def test_other_parametrizations_are_not_pickled():
    module = build("lstm")
    apply_masks(module, magnitude_masks(module, 50))
    parametrize.register_parametrization(module, "bias_ih_l0", nn.Tanh())
    with pytest.raises(TypeError, match="save the state_dict"):
        pickle.dumps(module)


def test_change_of_dtype():
    module = build("lstm", num_layers=2)
    apply_masks(module, magnitude_masks(module, 50))
    expected = module(series())[0]
    module = copy.deepcopy(module.double())
    actual = module(series().double())[0]
    torch.testing.assert_close(actual.float(), expected)
    actual.sum().backward()
