import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from toy_links import as_mask, random_positives

from graphs.evaluation.negatives import distinct_negatives, uniform_negatives

NO_PAIRS = torch.empty(2, 0, dtype=torch.int64)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(num_nodes=st.integers(2, 15), share=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_target_is_a_positive_of_its_source(num_nodes: int, share: float, seed: int) -> None:
    positives = random_positives(num_nodes, round(share * num_nodes**2), seed)
    mask = as_mask(positives, num_nodes)
    sources = torch.from_numpy(np.flatnonzero(~mask.all(axis=1))).flip(0)
    targets = uniform_negatives(sources, positives, num_nodes=num_nodes, many=30, rng=rng(seed))
    assert targets.shape == (len(sources), 30)
    assert bool(((targets >= 0) & (targets < num_nodes)).all())
    assert not mask[sources.numpy()[:, None], targets.numpy()].any()


def test_targets_are_uniform_and_seeded() -> None:
    positives = torch.tensor([[0, 3, 3, 3, 5], [1, 0, 4, 5, 2]])
    sources = torch.full((1,), 3)
    targets = uniform_negatives(sources, positives, num_nodes=7, many=8000, rng=rng())
    counts = np.bincount(targets[0].numpy(), minlength=7)
    assert counts[[0, 4, 5]].tolist() == [0, 0, 0]
    assert chisquare(counts[[1, 2, 3, 6]]).pvalue > 0.001
    again = uniform_negatives(sources, positives, num_nodes=7, many=8000, rng=rng())
    assert torch.equal(targets, again)


def test_a_source_without_a_negative_is_named() -> None:
    positives = torch.tensor([[2, 2, 2], [0, 1, 2]])
    with pytest.raises(ValueError, match="positive of source 2"):
        uniform_negatives(torch.tensor([0, 2]), positives, num_nodes=3, many=1, rng=rng())


@given(
    num_nodes=st.integers(1, 15),
    share=st.floats(0, 1),
    wanted=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_distinct_pairs_that_are_not_positive(
    num_nodes: int, share: float, wanted: float, seed: int
) -> None:
    positives = random_positives(num_nodes, round(share * num_nodes**2), seed)
    num = round(wanted * (num_nodes**2 - positives.shape[1]))
    drawn = distinct_negatives(positives, num_nodes=num_nodes, num=num, rng=rng(seed))
    key = drawn[0] * num_nodes + drawn[1]
    assert drawn.shape == (2, num) and bool((key[1:] > key[:-1]).all())
    assert not as_mask(positives, num_nodes)[drawn[0].numpy(), drawn[1].numpy()].any()


def test_every_pair_is_equally_likely() -> None:
    positives = random_positives(8, 10)
    counts = np.zeros((8, 8))
    for seed in range(800):
        source, target = distinct_negatives(positives, num_nodes=8, num=9, rng=rng(seed)).numpy()
        counts[source, target] += 1
    free = counts[~as_mask(positives, 8)]
    # Draws without replacement vary less than the multinomial that the test assumes.
    assert counts.sum() == 7200 and chisquare(free).pvalue > 0.001


def test_a_small_share_of_very_many_pairs() -> None:
    drawn = distinct_negatives(NO_PAIRS, num_nodes=1_000_000, num=50_000, rng=rng())
    assert drawn.shape == (2, 50_000)
    for end in drawn.double():
        assert float(end.mean()) == pytest.approx(5e5, rel=0.02)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="only 3 pairs are no positive"):
        distinct_negatives(random_positives(2, 1), num_nodes=2, num=4, rng=rng())
