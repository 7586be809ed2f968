"""Link metrics estimated from all positives and a fixed sample of the other pairs.

For validation during training: a negative stands for 1 / share pairs, in AP and in ranks. The
sample depends on the seed and the step alone, so it is the same in every epoch and for every
model. Weighted counts of negatives are unbiased, but 1 / count is convex: where few negatives are
above a positive, AP comes out too high, and MRR far too high, as a rank is 1 or beyond 1 / share.
On messages of UC Irvine a share of 2 % gives decayed pair counts a MAP of .22 instead of .15 and an
MRR of .66 instead of .45. MAP compares models on one sample; final numbers come from
`all_pairs_metrics`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from graphs.evaluation.all_pairs import PairMetrics
from graphs.evaluation.average_precision import average_precision, refuse_nan
from graphs.evaluation.negatives import distinct_negatives
from graphs.evaluation.ranks import Ties, counts_within_rows, mean_over_sources, tied_ranks


@dataclass(frozen=True)
class SampledPairs:
    """All positives of a step, then sampled negatives."""

    pairs: Int[Tensor, "2 pairs"]
    num_positives: int
    num_nodes: int
    negative_weight: float
    """Negatives of the step for each sampled one."""


def sample_pairs(
    positives: Int[Tensor, "2 positives"],
    *,
    num_nodes: int,
    seed: int,
    step: int,
    share: float = 0.02,
) -> SampledPairs:
    """All positives and a uniform share of the N^2 - positives other pairs, self-pairs included.

    Args:
        positives: Distinct pairs, sorted by source and target.
        num_nodes: N.
        seed: Of the evaluation, not negative.
        step: Step whose pairs these are.
        share: Of the negatives, in (0, 1]; at least one is drawn where one exists.

    Raises:
        ValueError: `share` is out of range or there are no positives.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    if not positives.shape[1]:
        raise ValueError("positives must not be empty: leave out steps without one")
    available = num_nodes**2 - positives.shape[1]
    num = min(available, max(1, round(share * available)))
    negatives = distinct_negatives(
        positives, num_nodes=num_nodes, num=num, rng=np.random.default_rng([seed, step])
    )
    return SampledPairs(
        pairs=torch.cat([positives.cpu(), negatives], dim=1),
        num_positives=positives.shape[1],
        num_nodes=num_nodes,
        negative_weight=available / num if num else 1.0,
    )


def sampled_metrics(
    sample: SampledPairs, scores: Float32[Tensor, " pairs"], *, ties: Ties = "mean"
) -> PairMetrics:
    """Weighted AP and MRR from the scores of `sample.pairs`.

    Raises:
        ValueError: A score is NaN.
    """
    score = scores.detach().cpu().numpy()
    refuse_nan(score)
    num = sample.num_positives
    source = sample.pairs[0].numpy()
    weight = np.full(len(score), sample.negative_weight)
    weight[:num] = 1
    positive = np.arange(len(score)) < num
    # Pairs below every positive change neither AP nor a rank.
    reaching = score >= score[:num].min()
    ap = average_precision(score[reaching], positive[reaching], weight[reaching])
    rivals = reaching & np.isin(source, source[:num])
    greater, equal = counts_within_rows(source[rivals], score[rivals], weight[rivals])
    rank = tied_ranks(greater[:num], equal[:num], ties)
    return PairMetrics(
        num_positives=num,
        num_pairs=len(score),
        ap=ap,
        mrr=mean_over_sources(1 / rank, source[:num]),
    )
