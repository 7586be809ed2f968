import math
from dataclasses import replace

import pytest
import torch
from toy_links import toy_sequence, weighted_snapshot

from graphs.baselines.majority_class import MajorityClass
from graphs.baselines.node_reputation import NodeReputation
from graphs.data.snapshots import Snapshot


def labelled(edges: list[tuple[int, int]], labels: list[int], *, directed: bool) -> Snapshot:
    snapshot = weighted_snapshot(4, edges, directed=directed)
    by_pair = {edge: label for edge, label in zip(edges, labels, strict=True)}
    pairs = [tuple(pair) for pair in snapshot.edge_index.T.tolist()]
    of_pairs = [by_pair.get(pair, by_pair.get(pair[::-1])) for pair in pairs]
    return replace(snapshot, edge_label=torch.tensor(of_pairs))


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@pytest.mark.parametrize("directed", [False, True])
def test_by_hand(directed: bool) -> None:
    """Node 0: 1 of 2, then 0 of 1; decay 0.5 leaves P = 0.5, n = 2. Node 1: P = 0.5, n = 0.5."""
    predictor = NodeReputation(4, 0.5, 2.0, directed=directed)
    predictor.update(labelled([(0, 1), (0, 2)], [1, 0], directed=directed))
    predictor.update(labelled([(0, 3)], [0], directed=directed))
    share = 1 / 3
    first, second = (0.5 + 2 * share) / (2 + 2), (0.5 + 2 * share) / (0.5 + 2)
    logits = predictor.logits(weighted_snapshot(4, [(0, 1)], directed=True))
    expected = logit(first) + logit(second) - logit(share)
    assert logits.tolist() == [[0, pytest.approx(expected)]]


def test_unknown_labels_do_not_count() -> None:
    one, other = NodeReputation(4), NodeReputation(4)
    one.update(labelled([(0, 1), (2, 3)], [1, -1], directed=False))
    other.update(labelled([(0, 1)], [1], directed=False))
    asked = weighted_snapshot(4, [(0, 2), (1, 3)], directed=False)
    assert torch.equal(one.logits(asked), other.logits(asked))


def test_nothing_and_one_class_seen_give_finite_scores() -> None:
    predictor = NodeReputation(4)
    asked = weighted_snapshot(4, [(0, 2)], directed=False)
    assert not predictor.logits(asked).any()
    predictor.update(labelled([(0, 1)], [1], directed=False))
    logits = predictor.logits(asked)
    assert bool(logits.isfinite().all()) and float(logits[0, 1]) > 5


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="decay must lie"):
        NodeReputation(4, 1.5)
    with pytest.raises(ValueError, match="a above 0"):
        NodeReputation(4, a=0.0)
    with pytest.raises(ValueError, match="classes 0 and 1, got 2"):
        NodeReputation(4).update(labelled([(0, 1)], [2], directed=False))


def test_majority_of_all_labels_so_far() -> None:
    predictor = MajorityClass(3, "node_label")
    snapshot = toy_sequence(4, (2,))[0]
    assert predictor.logits(snapshot).argmax(dim=1).tolist() == [0] * 4
    for labels, majority in (([2, 2, 1, -1], 2), ([1, 1, -1, -1], 1), ([0, 0, 0, 0], 0)):
        predictor.update(replace(snapshot, node_label=torch.tensor(labels)))
        logits = predictor.logits(snapshot)
        assert logits.shape == (4, 3) and bool((logits.argmax(dim=1) == majority).all())
        assert len(logits.unique(dim=0)) == 1
    edges = MajorityClass(2, "edge_label")
    edges.update(labelled([(0, 1), (0, 2), (0, 3)], [1, 1, 0], directed=True))
    assert edges.logits(snapshot).tolist() == [[0, 1]] * snapshot.num_edges
