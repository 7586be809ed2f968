"""Live update: the split of a step, the rank of the best positive, the order of calls."""

from typing import Any

import numpy as np
import pytest
import torch
from toy_links import MatrixScorer, RandomScorer, toy_sequence, weighted_snapshot

from graphs.data.snapshots import Snapshot
from graphs.evaluation.live import evaluate_live, live_mrr, split_edges

STEPS = (30, 25, 9, 40, 28)


def keys(pairs: torch.Tensor, num_nodes: int = 12) -> list[int]:
    return (pairs[0] * num_nodes + pairs[1]).tolist()


def test_a_tenth_to_test_and_to_stop_the_rest_to_fit() -> None:
    """Pairs that met once are in exactly one part; 37 edges give 3, 3 and 31."""
    edges = [(node, (node + shift) % 40) for shift in (1, 2) for node in range(40)][:37]
    parts = split_edges(weighted_snapshot(40, edges, directed=True), seed=0, step=1)
    sizes = [pairs.shape[1] for pairs in (parts.fit, parts.hold, parts.test)]
    assert sizes == [31, 3, 3]
    together = [key for part in (parts.fit, parts.hold, parts.test) for key in keys(part, 40)]
    assert sorted(together) == sorted(40 * u + v for u, v in edges)
    for part in (parts.fit, parts.hold, parts.test):
        assert keys(part, 40) == sorted(keys(part, 40))


def test_edges_of_a_pair_fall_into_parts_one_by_one() -> None:
    """A pair of 1,000 edges is in all three; by pairs it is in one."""
    snapshot = Snapshot(
        num_nodes=3, edge_index=torch.tensor([[0, 1], [1, 2]]), weight=torch.tensor([1000.0, 1.0])
    )
    parts = split_edges(snapshot, seed=0, step=0)
    assert all(0 * 3 + 1 in keys(part, 3) for part in (parts.fit, parts.hold, parts.test))
    by_pairs = split_edges(snapshot, seed=0, step=0, split_by="pairs")
    assert by_pairs.fit.shape[1] == 2 and not by_pairs.test.numel()
    heavy = Snapshot(num_nodes=2, edge_index=torch.tensor([[0], [1]]), weight=torch.tensor([0.5]))
    with pytest.raises(ValueError, match="no counts of edges"):
        split_edges(heavy, seed=0, step=0)
    assert split_edges(heavy, seed=0, step=0, split_by="pairs").fit.shape[1] == 1


def test_every_edge_is_equally_likely_to_be_tested() -> None:
    snapshot = weighted_snapshot(6, [(u, v) for u in range(5) for v in range(6)], directed=True)
    tested = np.zeros(30)
    for seed in range(1000):
        test = split_edges(snapshot, seed=seed, step=0).test
        tested[np.searchsorted(snapshot.pair_keys.numpy(), keys(test, 6))] += 1
    assert tested.sum() == 3000
    assert abs(tested - 100).max() < 5 * np.sqrt(90)


def test_rank_of_the_best_positive_by_hand() -> None:
    """Source 0: best positive 5 of (5, 1), negatives 7, 5, 3: rank 3. Source 2: rank 1."""
    scores = np.array([[5, 1, 7, 3], [0, 0, 0, 0], [9, 0, 0, 2], [0, 0, 0, 0]])
    positives = torch.tensor([[0, 0, 2], [0, 1, 3]])
    sources, negatives = torch.tensor([0, 2]), torch.tensor([[2, 0, 3], [1, 2, 1]])
    mrr = live_mrr(MatrixScorer(scores), positives, sources, negatives)
    assert mrr == pytest.approx((1 / 3 + 1) / 2)


def test_negatives_tied_with_the_best_positive_count_against_it() -> None:
    """All scores equal: rank 1 + 1,000 for every source, no credit for a constant."""

    class Constant(RandomScorer):
        def update(self, *args: Any, **options: Any) -> None:
            pass

    sequence = toy_sequence(per_step=STEPS, directed=True)
    result = evaluate_live({"a": Constant(12)}, sequence, seed=0, quiet=True)["a"]
    assert result.means == {"mrr": pytest.approx(1 / 1001)}


def test_a_step_is_scored_before_its_parts_are_handed_over() -> None:
    sequence = toy_sequence(per_step=STEPS, directed=True)
    events: list[Any] = []

    class Listener(RandomScorer):
        def update(self, snapshot: Snapshot, **parts: Any) -> None:
            super().update(snapshot, **parts)
            events.append(("update", next(i for i, s in enumerate(sequence) if s is snapshot)))

        def pairs(self, pairs: torch.Tensor) -> torch.Tensor:
            events.append(("score", keys(pairs)))
            return super().pairs(pairs)

    scorer = Listener(12)
    result = evaluate_live({"a": scorer}, sequence, seed=5, many=7, quiet=True)["a"]
    assert [kind for kind, _ in events] == [
        "update", "score", "update", "update", "score", "update", "score",
    ]  # fmt: skip
    assert [step for kind, step in events if kind == "update"] == [0, 1, 2, 3]
    assert (result.steps, result.n_skipped) == ((1, 3, 4), 1)  # step 2: 9 edges, none to test
    for step, (fit, hold) in enumerate(scorer.parts):
        parts = split_edges(sequence[step], seed=5, step=step)
        assert torch.equal(fit, parts.fit) and torch.equal(hold, parts.hold)
    test = split_edges(sequence[1], seed=5, step=1).test
    scored = events[1][1]
    assert scored[: test.shape[1]] == keys(test)
    assert not set(scored[test.shape[1] :]) & set(keys(test))
    assert len(scored) == test.shape[1] + 7 * len(test[0].unique())
    assert (result.protocol, result.ties, result.negatives) == ("live", "pessimistic", "7 uniform")


def test_predictors_meet_the_same_pairs() -> None:
    sequence = toy_sequence(per_step=STEPS, directed=True)
    together = evaluate_live(
        {"a": RandomScorer(12, 1), "b": RandomScorer(12, 2)}, sequence, seed=3, quiet=True
    )
    alone = evaluate_live({"b": RandomScorer(12, 2)}, sequence, seed=3, quiet=True)
    other = evaluate_live({"b": RandomScorer(12, 2)}, sequence, seed=4, quiet=True)
    assert together["b"] == alone["b"]
    assert other["b"].values != alone["b"].values


def test_what_live_update_cannot_take_is_refused() -> None:
    def evaluate(**options: Any) -> None:
        evaluate_live({"a": RandomScorer(12)}, toy_sequence(**options), seed=0, quiet=True)

    with pytest.raises(ValueError, match="toy is undirected: read it with directed=True"):
        evaluate(per_step=STEPS)
    with pytest.raises(ValueError, match="has 1, the first is 1: read it with drop_empty=True"):
        evaluate(per_step=(20, 0, 20), directed=True)
    with pytest.raises(ValueError, match="needs two steps"):
        evaluate(per_step=(20,), directed=True)
    with pytest.raises(ValueError, match="none of the 1 steps has a positive"):
        evaluate(per_step=(20, 4), directed=True)
