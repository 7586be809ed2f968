from typing import Any

import numpy as np
import pytest
import torch
from toy_links import as_mask, toy_sequence

from graphs.baselines.pair_memory import PairMemory, Persistence
from graphs.data.snapshots import SnapshotSequence

EVERYTHING = torch.cartesian_prod(torch.arange(12), torch.arange(12)).T


def met(sequence: SnapshotSequence) -> np.ndarray:
    """How many steps held each pair; in either direction if directed."""
    masks = [as_mask(snapshot.edge_index, sequence.num_nodes) for snapshot in sequence]
    return sum(mask | mask.T if sequence.directed else mask * 1 for mask in masks)


def scores(predictor: PairMemory, sequence: SnapshotSequence) -> np.ndarray:
    for snapshot in sequence:
        predictor.update(snapshot)
    rows = torch.cat([predictor.rows(0, 7), predictor.rows(7, 12)])
    assert torch.equal(predictor.pairs(EVERYTHING), rows.flatten())
    return rows.numpy()


@pytest.mark.parametrize("directed", [False, True])
def test_modes(directed: bool) -> None:
    sequence = toy_sequence(directed=directed)
    made: dict[str, Any] = {"num_nodes": 12, "directed": directed}
    assert np.array_equal(scores(PairMemory(**made), sequence), met(sequence) > 0)
    window = PairMemory(**made, mode="window", window=2)
    assert np.array_equal(scores(window, sequence), met(sequence[-2:]) > 0)
    assert np.array_equal(scores(Persistence(**made), sequence), met(sequence[-1:]) > 0)
    counts = sum(np.zeros((12, 12)) + dense for dense in map(weights, sequence))
    expected = counts + counts.T if directed else counts
    assert np.array_equal(scores(PairMemory(**made, mode="count"), sequence), expected)


def weights(snapshot: Any) -> np.ndarray:
    dense = np.zeros((12, 12))
    dense[tuple(snapshot.edge_index.numpy())] = snapshot.weight.numpy()
    return dense


def test_an_empty_last_snapshot_is_remembered_as_empty() -> None:
    assert not scores(Persistence(12), toy_sequence()[:3]).any()


def test_a_window_of_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 1"):
        PairMemory(3, "window", window=0)
