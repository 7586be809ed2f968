"""What is measured between epochs."""

import numpy as np
import pytest
import torch
from networks import random_edges, snapshot

from graphs.data.snapshots import SnapshotSequence
from graphs.data.splits import Split
from graphs.evaluation.fixed import evaluate_sampled
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
from graphs.validation import validate
from graphs.walk import TrainedLinks

NODES = 14


def test_a_share_of_one_is_all_pairs() -> None:
    steps = tuple(snapshot(NODES, edges) for edges in random_edges(NODES, 8, per_step=12))
    sequence = SnapshotSequence("made", steps, np.arange(NODES))
    torch.manual_seed(0)
    network = GraphNetwork(
        NetworkConfig(
            task="link", model=ModelConfig(hidden_dim=5), features=FeatureConfig(),
            head=HeadConfig(hidden_dim=6), structure=StructureConfig(decays=[0.5]),
            feature_dim=8, columns=False, num_classes=2,
        )
    )  # fmt: skip
    data = GraphData(sequence, InputBuilder(network.config))
    split = Split(range(4), range(4, 6), range(6, 7))
    found = validate(network, data, split, seed=0, negatives_share=1.0)
    links = {"model": TrainedLinks(network, data.builder, NODES)}
    sampled = evaluate_sampled(links, sequence, split.val, seed=0, share=1.0)["model"].means
    assert found == pytest.approx(sampled, rel=1e-6)
    part = validate(network, data, split, seed=0, negatives_share=0.2)
    assert part["map"] != pytest.approx(found["map"], rel=1e-3)
