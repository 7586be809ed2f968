import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_links import toy_sequence

from graphs.baselines.decayed_pairs import DecayedPairs
from graphs.baselines.decayed_search import choose_decayed_pairs, decayed_average_precision
from graphs.evaluation.all_pairs import all_pairs_metrics
from graphs.evaluation.fixed import evaluate_fixed


@given(
    decay=st.sampled_from([0.0, 0.3, 0.5, 0.95]),
    eps=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    seed=st.integers(0, 50),
    directed=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_counting_by_degree_gives_the_ap_of_all_pairs(
    decay: float, eps: float, seed: int, directed: bool
) -> None:
    """Not approximately: both count the same float32 numbers."""
    sequence = toy_sequence(15, (12, 5, 9, 10, 8), directed=directed, seed=seed)
    scorer = DecayedPairs(15, decay, eps, directed=directed)
    other_eps = DecayedPairs(15, decay, 7.0, directed=directed)
    for snapshot in sequence[:4]:
        scorer.update(snapshot)
        other_eps.update(snapshot)
    positives = sequence[4].edge_index
    expected = all_pairs_metrics(scorer, positives).ap
    assert decayed_average_precision(other_eps, positives, eps) == expected


def test_the_best_of_all_settings_is_chosen() -> None:
    sequence = toy_sequence(15, (12, 5, 9, 10, 0, 8, 7, 9))
    settings_ = {(decay, eps): None for decay in (0.2, 0.7) for eps in (0.01, 3.0)}
    chosen = choose_decayed_pairs(
        sequence, range(2, 6), decays=(0.2, 0.7), epsilons=(0.01, 3.0), quiet=True
    )
    predictors = {str(key): DecayedPairs(15, *key) for key in settings_}
    results = evaluate_fixed(predictors, sequence, range(2, 6), many=0, quiet=True)
    expected = {key: results[str(key)].means["map"] for key in settings_}
    assert dict(chosen.val_map) == pytest.approx(expected, abs=1e-12)
    assert (chosen.decay, chosen.eps) == max(expected, key=lambda key: expected[key])
    assert (chosen.n_steps, chosen.n_skipped) == (3, 1)


def test_steps_after_validation_are_not_read() -> None:
    long = toy_sequence(15, (12, 5, 9, 10, 8, 7))
    one, other = (choose_decayed_pairs(data, range(1, 3), quiet=True) for data in (long, long[:4]))
    assert one == other


def test_wrong_steps_are_refused() -> None:
    sequence = toy_sequence()
    for val in (range(0, 0), range(4, 6)):
        with pytest.raises(ValueError, match=r"val must lie in \[0, 5\)"):
            choose_decayed_pairs(sequence, val, quiet=True)
    with pytest.raises(ValueError, match="has a pair to choose"):
        choose_decayed_pairs(sequence, range(1, 2), quiet=True)
