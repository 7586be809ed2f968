"""The fixed split and its online form: what is scored when, and what nobody may know."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toy_links import RandomScorer, as_mask, toy_sequence

from graphs.data.snapshots import SnapshotSequence
from graphs.evaluation.all_pairs import all_pairs_metrics
from graphs.evaluation.fixed import evaluate_fixed, evaluate_sampled
from graphs.evaluation.naive import naive_average_precision, naive_mrr

SEQUENCE = toy_sequence()  # step 2 is empty


def test_step_t_plus_1_is_scored_after_step_t() -> None:
    result = evaluate_fixed({"a": RandomScorer(12)}, SEQUENCE, range(1, 5), quiet=True)["a"]
    assert (result.steps, result.n_skipped, result.n_steps) == ((3, 4, 5), 1, 3)
    assert (result.protocol, result.ties, result.negatives) == ("fixed", "mean", "100 uniform")
    assert result.num_pairs == 3 * 144
    scorer, aps, mrrs = RandomScorer(12), [], []
    for step in range(5):
        scorer.update(SEQUENCE[step])
        if step >= 2:
            mask = as_mask(SEQUENCE[step + 1].edge_index, 12)
            aps.append(naive_average_precision(scorer.scores.numpy(), mask))
            mrrs.append(naive_mrr(scorer.scores.numpy(), mask))
    assert result.values["ap"] == pytest.approx(aps, abs=1e-12)
    assert result.values["mrr"] == pytest.approx(mrrs, abs=1e-12)
    assert result.means["map"] == pytest.approx(np.mean(aps))


def test_several_predictors_get_what_each_gets_alone() -> None:
    together = evaluate_fixed(
        {"a": RandomScorer(12, 1), "b": RandomScorer(12, 2)}, SEQUENCE, range(0, 5), quiet=True
    )
    alone = evaluate_fixed({"b": RandomScorer(12, 2)}, SEQUENCE, range(0, 5), quiet=True)
    assert together["b"] == alone["b"]
    assert together["a"].values["ap"] != together["b"].values["ap"]


@pytest.mark.parametrize("memory_mb", [0, 256])
def test_options_reach_the_metrics(memory_mb: int) -> None:
    result = evaluate_fixed(
        {"a": RandomScorer(12, levels=3)}, SEQUENCE, range(4, 5), protocol="fixed_online",
        ties="pessimistic", filtered=True, many=0, memory_mb=memory_mb, quiet=True,
    )["a"]  # fmt: skip
    scorer = RandomScorer(12, levels=3)
    for snapshot in SEQUENCE[:5]:
        scorer.update(snapshot)
    mask = as_mask(SEQUENCE[5].edge_index, 12)
    expected = naive_mrr(scorer.scores.numpy(), mask, ties="pessimistic", filtered=True)
    assert result.values["mrr"] == pytest.approx([expected], abs=1e-12)
    assert (result.protocol, result.filtered, result.negatives) == ("fixed_online", True, "none")
    assert set(result.values) == {"ap", "mrr"}


def test_given_negatives_are_those_of_the_scored_step() -> None:
    negatives = {
        step: torch.randint(12, (SEQUENCE[step].num_edges, 4), generator=torch.Generator())
        for step in (4, 5)
    }
    result = evaluate_fixed(
        {"a": RandomScorer(12)}, SEQUENCE, range(3, 5), negatives=negatives, quiet=True
    )["a"]
    scorer, expected = RandomScorer(12), []
    for step in range(5):
        scorer.update(SEQUENCE[step])
        if step >= 3:
            metrics = all_pairs_metrics(
                scorer, SEQUENCE[step + 1].edge_index, negatives=negatives[step + 1]
            )
            expected.append(metrics.mrr_one_vs_many)
    assert result.values["mrr_one_vs_many"] == tuple(expected) and result.negatives == "given"
    with pytest.raises(ValueError, match="lacks 3"):
        evaluate_fixed(
            {"a": RandomScorer(12)}, SEQUENCE, range(2, 3), negatives=negatives, quiet=True
        )
    with pytest.raises(ValueError, match="a row for each of its"):
        short = {5: negatives[5][1:]}
        evaluate_fixed({"a": RandomScorer(12)}, SEQUENCE, range(4, 5), negatives=short, quiet=True)


def test_drawn_negatives_follow_the_seed() -> None:
    def values(seed: int) -> tuple[float, ...]:
        return evaluate_fixed(
            {"a": RandomScorer(12)}, SEQUENCE, range(2, 5), seed=seed, many=5, quiet=True
        )["a"].values["mrr_one_vs_many"]

    assert values(0) == values(0) != values(1)


def future_shuffled(sequence: SnapshotSequence, after: int) -> SnapshotSequence:
    """Steps up to `after` stay; later ones change places and directions."""
    kept, later = sequence.snapshots[: after + 1], sequence.snapshots[:after:-1]
    return replace(sequence, snapshots=(*kept, *later))


class Recorder(RandomScorer):
    """Keeps the scores that were read, with the step they were read after."""

    def __init__(self, num_nodes: int) -> None:
        super().__init__(num_nodes)
        self.step, self.read = -1, {}

    def update(self, *args: Any, **options: Any) -> None:
        super().update(*args, **options)
        self.step += 1

    def rows(self, start: int, stop: int) -> torch.Tensor:
        self.read[self.step, start, stop] = self.scores[start:stop]
        return super().rows(start, stop)


@pytest.mark.parametrize("protocol", ["fixed", "fixed_online"])
def test_scores_at_t_do_not_know_later_steps(protocol: Any) -> None:
    sequence = toy_sequence(per_step=(5, 6, 7, 8, 9, 10))
    known, shuffled = Recorder(12), Recorder(12)
    for scorer, data in ((known, sequence), (shuffled, future_shuffled(sequence, 2))):
        evaluate_fixed({"a": scorer}, data, range(0, 5), protocol=protocol, quiet=True)
    until_2 = [key for key in known.read if key[0] <= 2]
    assert len(until_2) == 3 and all(
        torch.equal(known.read[key], shuffled.read[key]) for key in until_2
    )
    assert not torch.equal(known.read[3, 0, 12], shuffled.read[3, 0, 12])


def test_sampled_with_all_negatives_is_fixed() -> None:
    full = evaluate_fixed({"a": RandomScorer(12)}, SEQUENCE, range(0, 5), quiet=True)["a"]
    sampled = evaluate_sampled({"a": RandomScorer(12)}, SEQUENCE, range(0, 5), seed=0, share=1.0)[
        "a"
    ]
    assert sampled.values["ap"] == pytest.approx(full.values["ap"], abs=1e-12)
    assert sampled.values["mrr"] == pytest.approx(full.values["mrr"], abs=1e-12)
    assert (sampled.protocol, sampled.negatives) == ("sampled", "1 of all")
    assert (sampled.steps, sampled.n_skipped) == (full.steps, 1)


def test_sampled_values_repeat_in_every_epoch() -> None:
    one, again, other = (
        evaluate_sampled({"a": RandomScorer(12)}, SEQUENCE, range(0, 5), seed=seed, share=0.3)["a"]
        for seed in (0, 0, 1)
    )
    assert one == again and one.values != other.values


def test_wrong_steps_are_refused() -> None:
    for steps in (range(3, 6), range(0, 0), range(-1, 2)):
        with pytest.raises(ValueError, match=r"must lie in \[0, 5\)"):
            evaluate_fixed({"a": RandomScorer(12)}, SEQUENCE, steps, quiet=True)
    with pytest.raises(ValueError, match="none of the 1 steps has a positive"):
        evaluate_fixed({"a": RandomScorer(12)}, SEQUENCE, range(1, 2), quiet=True)
    with pytest.raises(ValueError, match="predictors must not be empty"):
        evaluate_fixed({}, SEQUENCE, range(1, 2), quiet=True)
