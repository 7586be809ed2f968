"""What keeps learning: from the past alone, from one side of a pair alone, and not at all when the
held pairs say so."""

import copy

import numpy as np
import pytest
import torch
from networks import random_edges, snapshot

from graphs.config import NegativesConfig, OnlineConfig
from graphs.data.snapshots import SnapshotSequence
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
from graphs.online import OnlineLinks
from graphs.walk import TrainedLinks

NODES, STEPS, CUT = 12, 8, 5


def sequence(seed: int) -> SnapshotSequence:
    """Equal up to step CUT for all seeds, other graphs afterwards."""
    same = random_edges(NODES, CUT + 1, per_step=14)
    other = random_edges(NODES, STEPS, seed=seed, per_step=14)[CUT + 1 :]
    return SnapshotSequence(
        "made", tuple(snapshot(NODES, edges) for edges in same + other), np.arange(NODES)
    )


def network(state: str = "carry", *, decays: tuple[float, ...] = ()) -> GraphNetwork:
    torch.manual_seed(0)
    return GraphNetwork(
        NetworkConfig(
            task="link", model=ModelConfig(hidden_dim=5, state=state),
            features=FeatureConfig(), head=HeadConfig(hidden_dim=6),
            structure=StructureConfig(decays=list(decays)), feature_dim=8, columns=False,
            num_classes=2,
        )
    )  # fmt: skip


def online(net: GraphNetwork, *, learn_from: int = 1, **options: float) -> OnlineLinks:
    objective = LinkObjective(NegativesConfig(mult=3.0), net.config.head, 10)
    config = OnlineConfig(**({"max_epochs": 4} | options))
    return OnlineLinks(
        net, InputBuilder(net.config), NODES,
        objective=objective, online=config, lr=0.05, seed=3, learn_from=learn_from,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["carry", "window"])
@pytest.mark.parametrize("decays", [(), (0.5,)])
def test_scores_do_not_know_the_future(state, decays):
    """Other graphs after step CUT: bitwise the same scores of the pairs of CUT + 1."""
    found = []
    for seed in (1, 2):
        predictor = online(network(state, decays=decays))
        for step in range(CUT + 1):
            predictor.update(sequence(seed)[step])
        found.append(predictor.rows(0, NODES))
        predictor.update(sequence(seed)[CUT + 1])
        found.append(predictor.rows(0, NODES))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[1], found[3])


def test_it_learns_from_the_given_step_on():
    net = network()
    before = copy.deepcopy(net.state_dict())
    predictor = online(net, learn_from=4, lr=1e-3, max_epochs=20)
    frozen = TrainedLinks(copy.deepcopy(net), InputBuilder(net.config), NODES)
    for step in range(4):
        predictor.update(sequence(1)[step])
        frozen.update(sequence(1)[step])
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.equal(predictor.rows(0, NODES), frozen.rows(0, NODES))
    predictor.update(sequence(1)[4])
    assert not all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_held_pairs_hold_both_directions_and_keep_the_best():
    net = network()
    predictor = online(net)
    step = sequence(1)[0]
    fit, hold = predictor._parts(step, None, None)
    assert sorted([*fit.tolist(), *hold.tolist()]) == step.pair_keys.tolist()
    turned = (hold % NODES) * NODES + hold // NODES
    assert len(hold) and set(turned.tolist()) == set(hold.tolist())
    # a rate that ruins everything: the parameters from before it are restored
    wild = online(net, lr=1e3)
    before = copy.deepcopy(net.state_dict())
    wild.update(step)
    wild.update(sequence(1)[1])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    # so they are where the loss is no number at all
    for parameter in net.parameters():
        parameter.register_hook(lambda grad: grad * float("nan"))
    wild.update(sequence(1)[2])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_step_without_edges_teaches_nothing():
    net = network()
    predictor = online(net)
    before = copy.deepcopy(net.state_dict())
    predictor.update(sequence(1)[0])
    predictor.update(snapshot(NODES, []))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
