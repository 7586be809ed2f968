"""One tiny step of the graph head for `foretell doctor`."""

from dataclasses import replace

import torch

from graphs.config import TrainConfig
from graphs.data.generate import generate_sbm
from graphs.data_config import DataConfig, GeneratorConfig
from graphs.model_config import HeadConfig, ModelConfig
from graphs.network import GraphNetwork
from graphs.objectives import build_objective
from graphs.problem import pose

DATA = DataConfig(
    kind="generated",
    generator=GeneratorConfig(num_nodes=40, num_steps=12, edges_per_step=120, migrating=2),
)
CONFIG = TrainConfig(data=DATA, model=ModelConfig(hidden_dim=8), head=HeadConfig(hidden_dim=8))


def tiny_step() -> str:
    """Forward and backward of tiny EvolveGCN-O and -H on a generated graph.

    Returns:
        What was done, for a person.

    Raises:
        ArithmeticError: A loss or a gradient is not finite.
    """
    sequence = generate_sbm(DATA.generator, DATA)
    told = []
    for version in ("o", "h"):
        config = replace(CONFIG, model=replace(CONFIG.model, version=version))
        problem = pose(config, sequence)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network, data = GraphNetwork(problem.network), problem.data()
            assert network.embedder is not None
            embedding, _ = network.embedder([data.input(0), data.input(1)])
            x = network.inputs_of_decoder(embedding, data.structure_at(1))
            loss = build_objective(config).loss(network, x, data, 1)
        assert loss is not None
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if not all(bool(value.isfinite().all()) for value in (loss, *gradients)):
            raise ArithmeticError(f"a gradient of the tiny EvolveGCN-{version} is not finite")
        told.append(f"-{version.upper()} {loss.item():.3f}")
    return f"EvolveGCN forward and backward, loss {', '.join(told)}"
