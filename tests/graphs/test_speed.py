"""An epoch on kept snapshots takes at most half of one that builds each window anew.

CPU times, turn by turn, the smallest of each; `tools/bench/graphs_bench.py` measures closely.
"""

import time

import pytest
import torch

from graphs.data.generate import heavy_tailed
from graphs.data.snapshots import Snapshot, merge_pairs
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

CONTEXT = 10
pytestmark = pytest.mark.soak


def test_kept_snapshots_halve_an_epoch() -> None:
    torch.set_num_threads(1)
    graph = heavy_tailed(2000, 30, 4000)
    model = ModelConfig(hidden_dim=16, state="window", context=CONTEXT)
    network = GraphNetwork(
        NetworkConfig(
            task="link", model=model, features=FeatureConfig(), head=HeadConfig(hidden_dim=8),
            structure=StructureConfig(), feature_dim=64, columns=False, num_classes=2,
        )
    )  # fmt: skip
    embedder = network.embedder
    assert embedder is not None
    kept = GraphData(graph, InputBuilder(network.config))
    samples = range(CONTEXT, len(graph))

    def rebuild(step: int) -> torch.Tensor:
        builder = InputBuilder(network.config)
        past = graph.snapshots[step - CONTEXT : step + 1]
        return embedder([builder.build(again(snapshot)) for snapshot in past])[0]

    def cached(step: int) -> torch.Tensor:
        return embedder(kept.window(step, CONTEXT))[0]

    best = {"kept": float("inf"), "rebuilt": float("inf")}
    for turn in range(4):
        for name, embed in (("kept", cached), ("rebuilt", rebuild)):
            start = time.process_time()
            for step in samples:
                embed(step).sum().backward()
            if turn:
                best[name] = min(best[name], time.process_time() - start)
    torch.testing.assert_close(cached(CONTEXT), rebuild(CONTEXT))
    assert best["rebuilt"] >= 2 * best["kept"], best


def again(snapshot: Snapshot) -> Snapshot:
    """Merged from its pairs once more."""
    index, weight, _ = merge_pairs(
        snapshot.edge_index[0], snapshot.edge_index[1], snapshot.weight,
        num_nodes=snapshot.num_nodes, directed=True,
    )  # fmt: skip
    return Snapshot(snapshot.num_nodes, index, weight)
