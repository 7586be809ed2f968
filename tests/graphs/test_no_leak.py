"""Training sees what was known at a step: no label of it, no later edge, no past epoch."""

import dataclasses

import numpy as np
import pytest
import torch
from networks import random_edges, snapshot
from torch import Tensor

from graphs.config import TrainConfig
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.data.splits import Split
from graphs.fit import GraphModule
from graphs.graph_data import GraphData
from graphs.inputs import InputBuilder
from graphs.model_config import HeadConfig, ModelConfig, NetworkConfig, StructureConfig
from graphs.network import GraphNetwork
from graphs.structure import Structure

NODES, STEPS, CUT = 10, 7, 3
KINDS = {
    "link": StructureConfig(decays=[0.5]),
    "edge": StructureConfig(decays=[0.5], reputation=True),
    "regression": StructureConfig(lags=2),
}


def labelled(edges: list[tuple[int, int]], seed: int) -> Snapshot:
    one = snapshot(NODES, edges)
    generator = torch.Generator().manual_seed(seed)
    u, v = one.edge_index
    label = (torch.minimum(u, v) + torch.maximum(u, v) + seed) % 2
    return dataclasses.replace(one, edge_label=label, value=torch.rand(NODES, generator=generator))


def sequence(future: int) -> SnapshotSequence:
    """Edges are the same up to step CUT, labels and values up to the one before."""
    edges = random_edges(NODES, CUT + 1, per_step=12)
    edges += random_edges(NODES, STEPS, seed=future, per_step=12)[CUT + 1 :]
    steps = [labelled(of_step, future if k >= CUT else 0) for k, of_step in enumerate(edges)]
    return SnapshotSequence("made", tuple(steps), np.arange(NODES))


def module(task: str, graph: SnapshotSequence, *, tbptt: int = 1, state: str = "carry"):
    torch.manual_seed(0)
    carried = {"tbptt": tbptt} if state == "carry" else {"context": 2}
    model = ModelConfig(version="h", hidden_dim=4, state=state, **carried)
    config = TrainConfig(
        task=task, model=model, structure=KINDS[task], head=HeadConfig(hidden_dim=5)
    )
    network = GraphNetwork(
        NetworkConfig(
            task=task, model=model, features=config.features, head=config.head,
            structure=config.structure, feature_dim=6, columns=False,
            num_classes=1 if task == "regression" else 2,
        )
    )  # fmt: skip
    structure = Structure(config.structure, NODES)
    data = GraphData(graph, InputBuilder(network.config), structure)
    split = Split(range(STEPS - 2), range(STEPS - 2, STEPS - 1), range(STEPS - 2, STEPS - 1))
    made = GraphModule(config, network, data, split, seed=0)
    made.log = lambda *_, **__: None  # without a trainer
    return made


class Recorder:
    """An objective that keeps what training would decode from."""

    def __init__(self) -> None:
        self.seen: dict[int, list[Tensor]] = {}

    def loss(self, network, x, data, step):
        known = data.structure_at(step)
        self.seen[step] = [x.detach(), known.nodes, known.keys, known.pairs]
        return x.sum()


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("state", ["carry", "window"])
def test_inputs_of_training_know_no_label_of_the_step_and_no_later_edge(task, state):
    seen = []
    for future in (1, 2):
        made = module(task, sequence(future), state=state)
        made.objective = Recorder()
        for step in range(STEPS - 1):
            made.training_step([step], step)
        seen.append(made.objective.seen)
    for step in range(CUT + 1):
        for one, other in zip(seen[0][step], seen[1][step], strict=True):
            assert torch.equal(one, other)
    differ = [torch.equal(a, b) for a, b in zip(seen[0][CUT + 1], seen[1][CUT + 1], strict=True)]
    assert not all(differ)


def test_links_are_scored_from_the_structure_before_them(monkeypatch):
    asked = []
    for future in (1, 2):
        made = module("link", sequence(future))
        decoder = made.network.decoder
        right = type(decoder).scores

        def record(self, x, pairs, structure=None, *, right=right):
            asked.append([structure.nodes, structure.keys, structure.pairs])
            return right(self, x, pairs, structure)

        monkeypatch.setattr(type(decoder), "scores", record)
        made.training_step([CUT], 0)
        monkeypatch.undo()
    for one, other in zip(*asked, strict=True):
        assert torch.equal(one, other)


def test_an_epoch_starts_from_the_first_weight():
    made = module("regression", sequence(1))
    first = [made.training_step([step], step).item() for step in range(4)]
    assert made._state is not None
    again = [made.training_step([step], step).item() for step in range(4)]
    assert again == first


def test_truncation_at_the_length_is_none():
    """One chunk of everything has the gradients of the whole sequence; chunks of one have not."""
    graph = sequence(1)
    steps = list(range(4))
    made = module("regression", graph, tbptt=len(steps))
    made.training_step(steps, 0).backward()
    found = [parameter.grad.clone() for parameter in made.network.parameters()]

    whole = module("regression", graph)
    network, data = whole.network, whole.data
    embeddings, _ = network.embedder.every_step([data.input(step) for step in steps])
    losses = [
        whole.objective.loss(
            network, network.inputs_of_decoder(embedding, data.structure_at(step)), data, step
        )
        for step, embedding in zip(steps, embeddings, strict=True)
    ]
    torch.stack(losses).mean().backward()
    for one, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)

    cut = module("regression", graph)
    for step in steps:
        (cut.training_step([step], step) / len(steps)).backward()
    first_weight = cut.network.embedder.layers[0].evolution.cell.initial
    expected = network.embedder.layers[0].evolution.cell.initial.grad
    assert not torch.allclose(first_weight.grad, expected)
