"""Graphs head: link prediction, edge and node tasks on graphs that change over time.

Snapshots of a graph go in; a graph convolution whose weights evolve by a recurrent block predicts
the next snapshot's links and labels. The head shares its recurrent blocks and the runtime with the
other heads through `foretell` and imports none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphs.config import TrainConfig
    from graphs.data.readers import read_graph
    from graphs.data.snapshots import Snapshot, SnapshotSequence
    from graphs.data_config import DataConfig
    from graphs.evolvegcn import EvolveGCN
    from graphs.model_config import ModelConfig
    from graphs.network import GraphNetwork

__all__ = [
    "DataConfig",
    "EvolveGCN",
    "GraphNetwork",
    "ModelConfig",
    "Snapshot",
    "SnapshotSequence",
    "TrainConfig",
    "read_graph",
]

_HOME = {
    "DataConfig": "graphs.data_config",
    "EvolveGCN": "graphs.evolvegcn",
    "GraphNetwork": "graphs.network",
    "ModelConfig": "graphs.model_config",
    "Snapshot": "graphs.data.snapshots",
    "SnapshotSequence": "graphs.data.snapshots",
    "TrainConfig": "graphs.config",
    "read_graph": "graphs.data.readers",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'graphs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
