import numpy as np
import pytest
import torch
from toy_links import MatrixScorer, as_mask, random_positives

from graphs.evaluation.all_pairs import all_pairs_metrics
from graphs.evaluation.naive import naive_average_precision
from graphs.evaluation.ranks import Ties
from graphs.evaluation.sampled_pairs import SampledPairs, sample_pairs, sampled_metrics


def informative_scores(num_nodes: int, positives: torch.Tensor, seed: int = 0) -> np.ndarray:
    """Normal scores, those of positives three higher."""
    scores = np.random.default_rng(seed).normal(size=(num_nodes, num_nodes))
    return (scores + 3 * as_mask(positives, num_nodes)).astype(np.float32)


@pytest.mark.parametrize("ties", ["mean", "optimistic", "pessimistic"])
def test_all_negatives_give_the_metrics_of_all_pairs(ties: Ties) -> None:
    positives = random_positives(15, 30)
    scorer = MatrixScorer(np.random.default_rng(0).integers(0, 6, (15, 15)))
    sample = sample_pairs(positives, num_nodes=15, seed=1, step=4, share=1.0)
    ours = sampled_metrics(sample, scorer.pairs(sample.pairs), ties=ties)
    full = all_pairs_metrics(scorer, positives, ties=ties)
    assert (sample.pairs.shape[1], sample.negative_weight) == (225, 1.0)
    assert (ours.ap, ours.mrr) == pytest.approx((full.ap, full.mrr), abs=1e-12)


def test_the_sample_depends_on_seed_and_step_alone() -> None:
    positives = random_positives(60, 40)
    one, same, other_step, other_seed = (
        sample_pairs(positives, num_nodes=60, seed=seed, step=step)
        for seed, step in ((3, 9), (3, 9), (3, 10), (4, 9))
    )
    assert torch.equal(one.pairs, same.pairs)
    assert not torch.equal(one.pairs, other_step.pairs)
    assert not torch.equal(one.pairs, other_seed.pairs)
    assert torch.equal(one.pairs[:, :40], positives)
    assert one.pairs.shape[1] == 40 + round(0.02 * 3560)
    assert one.negative_weight == pytest.approx(3560 / 71)
    key = one.pairs[0] * 60 + one.pairs[1]
    assert len(key.unique()) == len(key)


def test_weights_by_hand() -> None:
    """One positive (score 2) of row 0, negatives of weight 10: one above and one tied in row 0."""
    pairs = torch.tensor([[0, 0, 0, 1], [1, 2, 3, 0]])
    sample = SampledPairs(pairs, num_positives=1, num_nodes=4, negative_weight=10.0)
    ours = sampled_metrics(sample, torch.tensor([2.0, 3.0, 2.0, 5.0]))
    assert ours.mrr == pytest.approx(1 / (10 + (11 + 1) / 2))
    assert ours.ap == pytest.approx(1 / 31)
    weight = np.array([1.0, 10, 10, 10])
    score, positive = np.array([2.0, 3, 2, 5]), np.array([True, False, False, False])
    assert ours.ap == pytest.approx(naive_average_precision(score, positive, weight))


def test_weighted_values_estimate_those_of_all_pairs() -> None:
    """Mean of 60 samples within three standard errors, and one sample within four deviations."""
    positives = random_positives(120, 90)
    scorer = MatrixScorer(informative_scores(120, positives))
    full = all_pairs_metrics(scorer, positives)
    estimates = []
    for seed in range(60):
        sample = sample_pairs(positives, num_nodes=120, seed=seed, step=0, share=0.2)
        measured = sampled_metrics(sample, scorer.pairs(sample.pairs))
        estimates.append(measured.ap)
    mean, deviation = np.mean(estimates), np.std(estimates, ddof=1)
    assert abs(estimates[0] - full.ap) < 4 * deviation
    # A ratio of counts has a small bias of its own, far below its deviation.
    assert abs(mean - full.ap) < 3 * deviation / np.sqrt(60) + 0.02 * full.ap
    assert deviation < 0.25 * full.ap


def test_wrong_input_is_refused() -> None:
    positives = random_positives(6, 3)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        sample_pairs(positives, num_nodes=6, seed=0, step=0, share=0.0)
    with pytest.raises(ValueError, match="must not be empty"):
        sample_pairs(positives[:, :0], num_nodes=6, seed=0, step=0)
    sample = sample_pairs(positives, num_nodes=6, seed=0, step=0)
    with pytest.raises(ValueError, match="NaN"):
        sampled_metrics(sample, torch.full((sample.pairs.shape[1],), torch.nan))
