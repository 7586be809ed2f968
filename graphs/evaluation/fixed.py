"""Fixed split: after step t all pairs of step t + 1 are scored, for each test step t.

`fixed`: parameters are frozen after training. `fixed_online`: the same scoring, but predictors go
on learning in `update`, which hands them steps up to t alone. `sampled`: the same walk, scored on
all positives and a sample of the negatives, for validation during training.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int
from torch import Tensor

from foretell.track import track
from graphs.data.snapshots import SnapshotSequence
from graphs.evaluation.all_pairs import PairMetrics, all_pairs_metrics
from graphs.evaluation.given_pairs import score_pairs
from graphs.evaluation.link_collector import LinkCollector
from graphs.evaluation.negatives import uniform_negatives
from graphs.evaluation.ranks import Ties
from graphs.evaluation.results import LinkResult
from graphs.evaluation.sampled_pairs import SampledPairs, sample_pairs, sampled_metrics
from graphs.scorer import LinkPredictor, PairScorer

Measure = Callable[[PairScorer], PairMetrics]
"""Metrics of a scorer on one step."""

# Keys random streams apart that share a seed and a step.
_ONE_VS_MANY_STREAM = 1


def evaluate_fixed(
    predictors: Mapping[str, LinkPredictor],
    sequence: SnapshotSequence,
    test: range,
    *,
    protocol: Literal["fixed", "fixed_online"] = "fixed",
    ties: Ties = "mean",
    filtered: bool = False,
    many: int = 100,
    negatives: Mapping[int, Int[Tensor, "_ many"]] | None = None,
    seed: int = 0,
    memory_mb: int = 256,
    quiet: bool = False,
) -> dict[str, LinkResult]:
    """MAP, MRR and one-vs-many MRR of several predictors in one walk over the sequence.

    Args:
        predictors: Name -> predictor that has seen no step yet; updated from step 0 on.
        sequence: Read up to step max(test) + 1.
        test: Steps t; the pairs of t + 1 are scored. Also used for the final validation.
        protocol: Name that the results carry; whether a predictor learns is its own affair.
        ties: Rule for tied ranks.
        filtered: Leave a source's other positives out of its ranking.
        many: Uniform negatives drawn for each positive, among the targets that are no positive of
            its source; 0 = no one-vs-many MRR.
        negatives: Scored step -> targets for each of its positives, in the order of edge_index;
            none = `many` drawn ones.
        seed: Of the drawn negatives.
        memory_mb: Scores of a step that fit are kept between the two passes over them.
        quiet: Show no progress.

    Returns:
        Name -> result; values stand at step t + 1.

    Raises:
        ValueError: `test` does not lie inside the sequence, no step of it has a positive, or
            `negatives` lacks a scored step or has another number of positives.
    """

    def measure_of(positives: Int[Tensor, "2 positives"], step: int) -> Measure:
        if negatives is not None:
            rivals: Tensor | None = _given(negatives, step, positives.shape[1])
        else:
            rivals = _drawn(positives, sequence.num_nodes, many, seed, step) if many else None
        return partial(
            all_pairs_metrics,
            positives=positives,
            ties=ties,
            filtered=filtered,
            negatives=rivals,
            keep_bytes=memory_mb << 20,
        )

    collector = _walk(
        predictors, sequence, test, measure_of, what=f"scoring {protocol}", quiet=quiet
    )
    kind = "given" if negatives is not None else f"{many} uniform" if many else "none"
    return collector.results(protocol, ties, seed=seed, negatives=kind, filtered=filtered)


def evaluate_sampled(
    predictors: Mapping[str, LinkPredictor],
    sequence: SnapshotSequence,
    steps: range,
    *,
    seed: int,
    share: float = 0.02,
    ties: Ties = "mean",
    quiet: bool = True,
) -> dict[str, LinkResult]:
    """Estimates of MAP and MRR on all positives and a fixed share of the negatives.

    Args:
        predictors: Name -> predictor that has seen no step yet; updated from step 0 on.
        sequence: Read up to step max(steps) + 1.
        steps: Steps t; the pairs of t + 1 are scored.
        seed: The sample of a step depends on this and the step alone.
        share: Of the negatives; each stands for 1 / share of them.
        ties: Rule for tied ranks.
        quiet: Show no progress.

    Raises:
        ValueError: `steps` does not lie inside the sequence or no step has a positive.
    """

    def measure_of(positives: Int[Tensor, "2 positives"], step: int) -> Measure:
        sample = sample_pairs(
            positives, num_nodes=sequence.num_nodes, seed=seed, step=step, share=share
        )
        return partial(_sampled, sample=sample, ties=ties)

    collector = _walk(predictors, sequence, steps, measure_of, what="validating", quiet=quiet)
    return collector.results("sampled", ties, seed=seed, negatives=f"{share:g} of all")


def _walk(
    predictors: Mapping[str, LinkPredictor],
    sequence: SnapshotSequence,
    test: range,
    measure_of: Callable[[Tensor, int], Measure],
    *,
    what: str,
    quiet: bool,
) -> LinkCollector:
    """Update on step t, then score step t + 1 where t is in `test`."""
    if not test or min(test) < 0 or max(test) + 1 >= len(sequence):
        raise ValueError(
            f"steps to score from must lie in [0, {len(sequence) - 1}), as the pairs of the step "
            f"after each are scored; got {test}"
        )
    if not predictors:
        raise ValueError("predictors must not be empty")
    collector = LinkCollector(predictors)
    last = max(test)
    for step, snapshot in track(enumerate(sequence[: last + 1]), last + 1, what, quiet=quiet):
        for predictor in predictors.values():
            predictor.update(snapshot)
        if step not in test:
            continue
        positives = sequence[step + 1].edge_index
        if not positives.shape[1]:
            collector.n_skipped += 1
            continue
        measure = measure_of(positives, step + 1)
        scored = {name: measure(predictor) for name, predictor in predictors.items()}
        one = next(iter(scored.values()))
        collector.open_step(step + 1, num_pairs=one.num_pairs, num_positives=one.num_positives)
        for name, metrics in scored.items():
            collector.add(name, metrics.values)
    return collector


def _sampled(scorer: PairScorer, *, sample: SampledPairs, ties: Ties) -> PairMetrics:
    return sampled_metrics(sample, score_pairs(scorer, sample.pairs), ties=ties)


def _drawn(
    positives: Int[Tensor, "2 positives"], num_nodes: int, many: int, seed: int, step: int
) -> Int[Tensor, "positives many"]:
    rng = np.random.default_rng([seed, step, _ONE_VS_MANY_STREAM])
    return uniform_negatives(positives[0], positives, num_nodes=num_nodes, many=many, rng=rng)


def _given(
    negatives: Mapping[int, Int[Tensor, "_ many"]], step: int, num_positives: int
) -> Int[Tensor, "positives many"]:
    if step not in negatives:
        raise ValueError(f"negatives must hold targets for every scored step, lacks {step}")
    if len(negatives[step]) != num_positives:
        raise ValueError(
            f"negatives of step {step} must have a row for each of its {num_positives} positives, "
            f"got {list(negatives[step].shape)}"
        )
    return negatives[step]
