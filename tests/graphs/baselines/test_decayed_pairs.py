import numpy as np
import pytest
import torch
from toy_links import toy_sequence, weighted_snapshot

from graphs.baselines.decayed_pairs import DecayedPairs
from graphs.data.snapshots import SnapshotSequence

EVERYTHING = torch.cartesian_prod(torch.arange(12), torch.arange(12)).T


def by_definition(sequence: SnapshotSequence, decay: float, eps: float) -> np.ndarray:
    """float64, from dense symmetric matrices of multiplicities."""
    counts = np.zeros((sequence.num_nodes,) * 2)
    degrees = np.zeros(sequence.num_nodes)
    for snapshot in sequence:
        step = np.zeros_like(counts)
        step[tuple(snapshot.edge_index.numpy())] = snapshot.weight.numpy()
        if sequence.directed:
            step = step + step.T
        counts = decay * counts + step
        degrees = decay * degrees + step.sum(axis=1)
    return counts + eps * np.outer(degrees, degrees) / degrees.max() ** 2


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("decay", "eps"), [(0.8, 1e-3), (0.3, 30.0), (1.0, 0.0)])
def test_scores_follow_the_formula(directed: bool, decay: float, eps: float) -> None:
    sequence = toy_sequence(directed=directed)
    predictor = DecayedPairs(12, decay, eps, directed=directed)
    for snapshot in sequence:
        predictor.update(snapshot)
    expected = by_definition(sequence, decay, eps)
    rows = torch.cat([predictor.rows(0, 5), predictor.rows(5, 12)])
    assert rows.dtype == torch.float32
    assert rows.numpy() == pytest.approx(expected, rel=1e-5)
    assert predictor.pairs(EVERYTHING).numpy() == pytest.approx(expected.reshape(-1), rel=1e-5)
    alone = by_definition(sequence, decay, 0.0)
    assert predictor.counts(EVERYTHING).numpy() == pytest.approx(alone.reshape(-1), rel=1e-5)


def test_by_hand() -> None:
    """(0, 1) twice, then (1, 2): C = 2 * 0.5 and 1, d = (1, 2, 1), product scale 0.4 / 4."""
    predictor = DecayedPairs(3, 0.5, 0.4)
    predictor.update(weighted_snapshot(3, [(0, 1), (1, 0)], directed=False))
    predictor.update(weighted_snapshot(3, [(1, 2)], directed=False))
    assert predictor.degrees.tolist() == [1, 2, 1]
    expected = torch.tensor([[0.1, 1.2, 0.1], [1.2, 0.4, 1.2], [0.1, 1.2, 0.1]])
    assert torch.allclose(predictor.rows(0, 3), expected)


def test_before_any_edge_all_scores_are_zero() -> None:
    predictor = DecayedPairs(12)
    predictor.update(toy_sequence()[2])
    assert not predictor.rows(0, 12).any() and not predictor.pairs(EVERYTHING).any()


def test_equal_products_of_degrees_tie_exactly() -> None:
    """3 * 1 and 1 * 3 of nodes whose degrees are no binary fractions of the highest one."""
    predictor = DecayedPairs(6, 0.5, 1.0)
    edges = [(0, 3)] * 3 + [(1, 4)] + [(2, 5)] * 7
    predictor.update(weighted_snapshot(6, edges, directed=False))
    scores = predictor.rows(0, 6)
    assert len({float(scores[u, v]) for u, v in ((0, 1), (1, 0), (3, 4), (0, 4), (1, 3))}) == 1


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]"):
        DecayedPairs(3, 1.1)
    with pytest.raises(ValueError, match="eps must not be negative"):
        DecayedPairs(3, eps=-1.0)
