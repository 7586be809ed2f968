"""Layers of the released code's layout give the equations' outputs."""

from types import SimpleNamespace

import pytest
import torch
from networks import both_ways, one_hot_input, random_edges
from references import ibm_compat, one_hot_degrees

from graphs.config import TrainConfig
from graphs.evolvegcn import EvolveGCN
from graphs.model_config import ModelConfig
from graphs.released_weights import load_released

NODES, WIDTH = 9, 7
EDGES = random_edges(NODES, 4)


def released(rows: int, cols: int, seed: int) -> SimpleNamespace:
    """A layer with the attributes of the released GRCU."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    gates = {
        name: SimpleNamespace(W=drawn(rows, rows), U=drawn(rows, rows), bias=drawn(rows, cols))
        for name in ("update", "reset", "htilda")
    }
    top = SimpleNamespace(scorer=drawn(rows, 1))
    return SimpleNamespace(
        GCN_init_weights=drawn(rows, cols),
        evolve_weights=SimpleNamespace(choose_topk=top, **gates),
    )


def parameters(layer: SimpleNamespace) -> dict[str, torch.Tensor]:
    """The same under the names of the equations."""
    gates = layer.evolve_weights
    named = {"W_0": layer.GCN_init_weights, "p": gates.choose_topk.scorer[:, 0]}
    for letter, name in zip("ZRH", ("update", "reset", "htilda"), strict=True):
        gate = getattr(gates, name)
        named |= {f"W_{letter}": gate.W, f"U_{letter}": gate.U, f"B_{letter}": gate.bias}
    return named


def made(version: str) -> EvolveGCN:
    model = ModelConfig(version=version, hidden_dim=4, state="window", context=3)
    return EvolveGCN(TrainConfig(ibm_compat=True, model=model).model, WIDTH).double().eval()


@pytest.mark.parametrize("version", ["h", "o"])
def test_loaded_layers_compute_what_they_did(version):
    layers = [released(WIDTH, 4, 0), released(4, 4, 1)]
    network = load_released(made(version), layers)
    both = [both_ways(edges) for edges in EDGES]
    hot = [one_hot_degrees(NODES, edges, WIDTH) for edges in both]
    expected = ibm_compat(version, [parameters(layer) for layer in layers], both, hot, context=3)
    ours, _ = network([one_hot_input(NODES, edges, WIDTH) for edges in EDGES])
    torch.testing.assert_close(ours, expected.outputs[-1], rtol=1e-11, atol=1e-11)


def test_what_does_not_fit_is_named():
    layers = [released(WIDTH, 4, 0), released(4, 4, 1)]
    with pytest.raises(ValueError, match="has 2 layers, got 1"):
        load_released(made("o"), layers[:1])
    with pytest.raises(ValueError, match=r"layer 1: GCN_init_weights is \[4, 5\]"):
        load_released(made("o"), [layers[0], released(4, 5, 1)])
    lstm = EvolveGCN(ModelConfig(version="o", hidden_dim=4), WIDTH).double()
    with pytest.raises(ValueError, match="cell gru"):
        load_released(lstm, layers)
