"""Edges of the graph benchmarks, straight from the published files and not by foretell's readers.

Where there is no file, a random graph of the same size and a similar spread of degrees stands in.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

UCI_STEP_S, OTC_STEP_S = 190_080.0, 1_200_000.0


@dataclass(frozen=True)
class RawEdges:
    """Edges of an undirected graph, as in the file: each once, in the direction given."""

    name: str
    source: np.ndarray
    """Node numbers from 0, [edges]."""
    target: np.ndarray
    time: np.ndarray
    """Unix seconds, [edges]."""
    step_s: float
    """Seconds of a snapshot."""
    num_nodes: int

    @cached_property
    def step(self) -> np.ndarray:
        """Snapshot of every edge."""
        time = self.time.astype(np.int64)
        return np.floor((time - time.min()) / self.step_s).astype(np.int64)

    @property
    def num_steps(self) -> int:
        """Snapshots, empty ones included."""
        return int(self.step.max()) + 1

    def train_steps(self, share: float, context: int = 10) -> range:
        """Training samples by the published rule, with that share of the steps."""
        return range(context, int(share * (self.num_steps - 1)))

    def test_steps(self, share: float) -> range:
        """Test samples: after training and a tenth of the steps for validation."""
        return range(int((share + 0.1) * (self.num_steps - 1)), self.num_steps - 1)

    def write(self, path: Path) -> None:
        """As a KONECT file, ids from 1, which any reader of that format takes."""
        rows = np.stack([self.source + 1, self.target + 1, np.ones_like(self.source), self.time], 1)
        header = f"asym positive\n{len(rows)} {self.num_nodes} {self.num_nodes}"
        np.savetxt(path, rows.astype(np.int64), fmt="%d", comments="% ", header=header)


def read_uci(path: Path) -> RawEdges:
    """UCI messages: two lines that start with %, then source, target, weight, unix time."""
    import pandas as pd

    table = pd.read_csv(path, sep=r"\s+", comment="%", header=None)
    return _numbered("UCI", table[0], table[1], table[3], UCI_STEP_S)


def read_otc(path: Path) -> RawEdges:
    """Bitcoin OTC: source, target, rating, unix time, no header."""
    import pandas as pd

    table = pd.read_csv(path, header=None)
    return _numbered("OTC", table[0], table[1], table[3], OTC_STEP_S)


def stand_in(
    name: str, *, num_nodes: int, num_edges: int, num_steps: int, step_s: float = 86_400.0
) -> RawEdges:
    """A random graph in the order of time; about a fifth of its edges repeat an earlier one.

    Popularity falls like 1 / rank^0.7; every node and every step has an edge.
    """
    if num_edges < num_nodes:
        raise ValueError(f"num_edges must reach num_nodes {num_nodes}, got {num_edges}")
    rng = np.random.default_rng(0)
    popularity = 1.0 / np.arange(1, num_nodes + 1) ** 0.7
    ends = rng.choice(num_nodes, size=(2, num_edges), p=popularity / popularity.sum())
    first = rng.choice(num_edges, num_nodes, replace=False)  # where a node is sure to be
    again = np.flatnonzero(rng.random(num_edges) < 0.2)
    ends[:, again] = ends[:, (rng.random(len(again)) * again).astype(np.int64)]
    ends[0, first] = rng.permutation(num_nodes)
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % num_nodes, ends[1])
    time = np.linspace(0, num_steps * step_s - 1, num_edges).astype(np.int64)
    return RawEdges(name, ends[0], ends[1], time, step_s, num_nodes)


def _numbered(name: str, source: object, target: object, time: object, step_s: float) -> RawEdges:
    ends = np.stack([np.asarray(source), np.asarray(target)])
    ids, numbers = np.unique(ends, return_inverse=True)
    numbers = numbers.reshape(ends.shape)
    return RawEdges(name, numbers[0], numbers[1], np.asarray(time), step_s, len(ids))
