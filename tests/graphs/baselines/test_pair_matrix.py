import numpy as np
import pytest
import torch
from toy_links import toy_sequence

from graphs.baselines.pair_matrix import PairMatrix
from graphs.data.snapshots import SnapshotSequence


def dense(sequence: SnapshotSequence, decay: float) -> np.ndarray:
    total = np.zeros((sequence.num_nodes,) * 2)
    for snapshot in sequence:
        total *= decay
        np.add.at(total, tuple(snapshot.edge_index.numpy()), snapshot.weight.numpy())
        if sequence.directed:
            np.add.at(total, tuple(snapshot.edge_index.flip(0).numpy()), snapshot.weight.numpy())
    return total


@pytest.mark.parametrize("directed", [False, True])
def test_rows_and_pairs_are_entries_of_the_dense_matrix(directed: bool) -> None:
    sequence = toy_sequence(directed=directed)
    matrix = PairMatrix(12, directed=directed)
    for snapshot in sequence:
        matrix.scale(0.5)
        matrix.add(snapshot)
    expected = dense(sequence, 0.5)
    assert np.array_equal(expected, expected.T)
    rows = np.ones((5, 12), np.float32)
    matrix.add_to_rows(rows, 4)
    assert np.array_equal(rows, 1 + expected[4:9])
    everything = torch.cartesian_prod(torch.arange(12), torch.arange(12)).T.flip(1)
    assert np.array_equal(matrix.at(everything), expected.reshape(-1)[::-1])
    source, target, value = matrix.entries()
    rebuilt = np.zeros((12, 12))
    rebuilt[source, target] = value
    assert np.array_equal(rebuilt, expected) and len(value) == np.count_nonzero(expected)


def test_an_empty_matrix_is_zero() -> None:
    matrix = PairMatrix(3)
    assert matrix.at(torch.tensor([[0, 2], [1, 2]])).tolist() == [0, 0]
    assert matrix.at(torch.empty(2, 0, dtype=torch.int64)).shape == (0,)
    rows = np.zeros((3, 3), np.float32)
    matrix.add_to_rows(rows, 0)
    assert not rows.any()


def test_binary_counts_forget_multiplicity() -> None:
    sequence = toy_sequence(4, (20, 20))
    matrix = PairMatrix(4)
    for snapshot in sequence:
        matrix.add(snapshot, binary=True)
    assert set(matrix.entries()[2].tolist()) == {1.0, 2.0}
    matrix.keep_seen()
    assert set(matrix.entries()[2].tolist()) == {1.0}


def test_another_number_of_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="snapshot has 12 nodes, the baseline 13"):
        PairMatrix(13).add(toy_sequence()[0])
