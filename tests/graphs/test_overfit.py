"""Three snapshots of a toy graph are learned by heart."""

import dataclasses

import pytest
import torch
from networks import random_edges, snapshot
from sklearn.metrics import average_precision_score

from graphs.config import NegativesConfig
from graphs.data.snapshots import SnapshotSequence
from graphs.graph_data import GraphData
from graphs.inputs import InputBuilder
from graphs.model_config import (
    FeatureConfig,
    HeadConfig,
    ModelConfig,
    NetworkConfig,
    StructureConfig,
)
from graphs.network import GraphNetwork
from graphs.objectives import LinkObjective
from graphs.walk import TrainedLinks

NODES, STEPS = 16, 3


def sequence() -> SnapshotSequence:
    """Random graphs whose nodes have a feature each."""
    steps = (snapshot(NODES, edges) for edges in random_edges(NODES, STEPS, per_step=14))
    marked = tuple(dataclasses.replace(step, x=torch.eye(NODES)) for step in steps)
    return SnapshotSequence("toy", marked, torch.arange(NODES).numpy())


def network(version: str, state: str, *, width: int = 24) -> GraphNetwork:
    torch.manual_seed(0)
    return GraphNetwork(
        NetworkConfig(
            task="link",
            model=ModelConfig(version=version, hidden_dim=width, state=state, context=2)
            if state == "window"
            else ModelConfig(version=version, hidden_dim=width),
            features=FeatureConfig(), head=HeadConfig(hidden_dim=48),
            structure=StructureConfig(), feature_dim=NODES, columns=True, num_classes=2,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("version", "state"), [("h", "carry"), ("o", "window")])
def test_three_snapshots_are_learned_by_heart(version, state):
    torch.set_num_threads(1)
    graph, net = sequence(), network(version, state)
    data = GraphData(graph, InputBuilder(net.config))
    objective = LinkObjective(NegativesConfig(mult=8.0, kind="uniform"), net.config.head, 2)
    assert net.embedder is not None
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    before = score(net, graph)
    for _ in range(350):
        optimizer.zero_grad()
        if state == "window":
            embeddings = [net.embedder(data.window(step, 2))[0] for step in (0, 1)]
        else:
            embeddings, _ = net.embedder.every_step([data.input(0), data.input(1)])
        losses = [
            objective.loss(net, net.inputs_of_decoder(embedding, None), data, step)
            for step, embedding in enumerate(embeddings)
        ]
        torch.stack([loss for loss in losses if loss is not None]).mean().backward()
        optimizer.step()
    assert before < 0.5
    assert score(net, graph) > 0.95


def score(net: GraphNetwork, graph: SnapshotSequence) -> float:
    """Smallest AP of the two forecast steps, over all pairs of two nodes: training sees no loop."""
    links = TrainedLinks(net, InputBuilder(net.config), NODES)
    no_loop, found = ~torch.eye(NODES, dtype=torch.bool), []
    for step in range(STEPS - 1):
        links.update(graph[step])
        truth = torch.zeros(NODES, NODES)
        truth[tuple(graph[step + 1].edge_index)] = 1
        found.append(average_precision_score(truth[no_loop], links.rows(0, NODES)[no_loop]))
    return min(found)
