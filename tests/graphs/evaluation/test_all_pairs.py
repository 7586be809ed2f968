"""Fast all-pairs metrics against sklearn and plain loops, whatever the blocks and ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_links import MatrixScorer, as_mask, random_positives

from graphs.evaluation.all_pairs import PairMetrics, all_pairs_metrics
from graphs.evaluation.naive import naive_mrr, naive_rank
from graphs.evaluation.ranks import Ties

metrics = pytest.importorskip("sklearn.metrics")
RULES: tuple[Ties, ...] = ("mean", "optimistic", "pessimistic")


def random_scores(num_nodes: int, levels: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, levels, (num_nodes, num_nodes)).astype(np.float32) / 8 - 1


@given(
    num_nodes=st.integers(2, 14),
    levels=st.sampled_from([1, 2, 5, 10_000]),
    share=st.floats(0, 1),
    block_pairs=st.integers(1, 80),
    keep=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_oracles(
    num_nodes: int, levels: int, share: float, block_pairs: int, keep: bool, seed: int
) -> None:
    positives = random_positives(num_nodes, max(1, round(share * num_nodes**2)), seed)
    scores, mask = random_scores(num_nodes, levels, seed), as_mask(positives, num_nodes)
    for ties in RULES:
        for filtered in (False, True):
            ours = all_pairs_metrics(
                MatrixScorer(scores),
                positives,
                ties=ties,
                filtered=filtered,
                block_pairs=block_pairs,
                keep_bytes=1 << 20 if keep else 0,
            )
            naive = naive_mrr(scores, mask, ties=ties, filtered=filtered)
            assert ours.mrr == pytest.approx(naive, abs=1e-12)
    sklearns = metrics.average_precision_score(mask.reshape(-1), scores.reshape(-1))
    assert ours.ap == pytest.approx(sklearns, abs=1e-12)
    assert (ours.num_pairs, ours.num_positives) == (num_nodes**2, positives.shape[1])


@pytest.mark.parametrize("levels", [3, 100_000])
def test_a_step_large_enough_for_buckets_and_sorted_rows(levels: int) -> None:
    positives = random_positives(90, 4000, seed=1)
    scores, mask = random_scores(90, levels, seed=2), as_mask(positives, 90)
    ours = all_pairs_metrics(MatrixScorer(scores), positives, block_pairs=1000)
    sklearns = metrics.average_precision_score(mask.reshape(-1), scores.reshape(-1))
    assert ours.ap == pytest.approx(sklearns, abs=1e-12)
    assert ours.mrr == pytest.approx(naive_mrr(scores, mask), abs=1e-12)


def test_by_hand() -> None:
    """Row 0: targets 1 and 2 rank 1 and 3. Row 2: target 0 ties with 1 behind 2, rank 2.5."""
    scores = np.array([[2, 3, 1], [9, 9, 9], [0, 0, 5]], np.float32)
    positives = torch.tensor([[0, 0, 2], [1, 2, 0]])
    ours = all_pairs_metrics(MatrixScorer(scores), positives)
    assert ours.mrr == pytest.approx(((1 + 1 / 3) / 2 + 1 / 2.5) / 2)
    # In all: 5 pairs reach score 3, 7 reach 1, 9 reach 0; positives 1, 2, 3.
    assert ours.ap == pytest.approx((1 / 5 + 2 / 7 + 3 / 9) / 3)
    filtered = all_pairs_metrics(MatrixScorer(scores), positives, filtered=True)
    assert filtered.mrr == pytest.approx(((1 + 1 / 2) / 2 + 1 / 2.5) / 2)


@pytest.mark.parametrize("num", [1, 12, 144])
def test_one_n_and_all_pairs_positive(num: int) -> None:
    positives = random_positives(12, num)
    scores, mask = random_scores(12, 4, seed=0), as_mask(positives, 12)
    ours = all_pairs_metrics(MatrixScorer(scores), positives)
    assert ours.mrr == pytest.approx(naive_mrr(scores, mask), abs=1e-12)
    sklearns = metrics.average_precision_score(mask.reshape(-1), scores.reshape(-1))
    assert ours.ap == pytest.approx(sklearns, abs=1e-12)


@pytest.mark.parametrize("ties", RULES)
def test_one_vs_many(ties: Ties) -> None:
    positives, scores = random_positives(12, 20), random_scores(12, 5, seed=3)
    negatives = torch.randint(12, (20, 9), generator=torch.Generator().manual_seed(0))
    ours = all_pairs_metrics(
        MatrixScorer(scores), positives, ties=ties, negatives=negatives, block_pairs=24
    )
    ranks = [
        naive_rank(float(scores[u, v]), scores[u, rivals.numpy()], ties)
        for u, v, rivals in zip(*positives.tolist(), negatives, strict=True)
    ]
    assert ours.mrr_one_vs_many == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-12)
    assert set(ours.values) == {"ap", "mrr", "mrr_one_vs_many"}
    assert set(PairMetrics(1, 1, 0.5, 0.5).values) == {"ap", "mrr"}


def test_scores_are_made_once_if_they_fit_else_twice_in_the_same_blocks() -> None:
    """A scorer whose blocks round differently still counts each positive at its own score."""
    positives, scores = random_positives(10, 15), random_scores(10, 10_000, seed=5)
    once, twice = MatrixScorer(scores), MatrixScorer(scores)
    kept = all_pairs_metrics(once, positives, block_pairs=30, keep_bytes=400)
    again = all_pairs_metrics(twice, positives, block_pairs=30, keep_bytes=399)
    blocks = [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert once.calls == blocks
    assert twice.calls == blocks * 2
    assert kept == again


def test_wrong_input_is_refused() -> None:
    scores, positives = random_scores(5, 9, seed=0), random_positives(5, 4)
    with pytest.raises(ValueError, match="must not be empty"):
        all_pairs_metrics(MatrixScorer(scores), torch.empty(2, 0, dtype=torch.int64))
    for wrong in (positives.flip(1), positives[:, [0, 0, 1]], positives + 5):
        with pytest.raises(ValueError, match="in order of source and target"):
            all_pairs_metrics(MatrixScorer(scores), wrong)
    scores[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        all_pairs_metrics(MatrixScorer(scores), positives)


def test_blocks_of_another_shape_or_type_are_refused() -> None:
    class Transposed(MatrixScorer):
        def rows(self, start: int, stop: int) -> torch.Tensor:
            return super().rows(start, stop).T.clone()

    class Double(MatrixScorer):
        def rows(self, start: int, stop: int) -> torch.Tensor:
            return super().rows(start, stop).double()

    scores, positives = random_scores(5, 9, seed=0), random_positives(5, 4)
    for wrong in (Transposed(scores), Double(scores)):
        with pytest.raises(ValueError, match=r"must give float32 \[2, 5\]"):
            all_pairs_metrics(wrong, positives, block_pairs=10)
