"""Live update (ROLAND, KDD 2022): score a step before it is seen, then learn from it.

Snapshots are directed and none is empty. The edges of each, a pair as often as it met, are split at
random 80/10/10 into fit, hold and test; the test pairs are those of the test edges. For every
t = 0 .. T-2: score the test pairs of step t + 1, then reveal it by `update(snapshot, fit, hold)`.
For every source of a test pair, 1,000 targets are drawn that are no test positive of it:

    rank = 1 + #{negatives with score >= the best positive of the source}
    MRR = mean over steps of the mean over sources of 1 / rank       (higher is better)

Another quantity than the MRR of the fixed split: the two never share a column. A step whose test
part is empty (fewer than 10 edges) is skipped and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from foretell.track import track
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.average_precision import refuse_nan
from graphs.evaluation.given_pairs import score_pairs
from graphs.evaluation.link_collector import LinkCollector
from graphs.evaluation.negatives import uniform_negatives
from graphs.evaluation.results import LinkResult
from graphs.scorer import LinkPredictor, PairScorer

SplitBy = Literal["edges", "pairs"]

# Keys random streams apart that share a seed and a step.
_SPLIT_STREAM, _NEGATIVES_STREAM = 2, 3


@dataclass(frozen=True)
class EdgeParts:
    """Pairs of the edges in each part, once each, sorted; one that met often may be in several."""

    fit: Int[Tensor, "2 fit"]
    hold: Int[Tensor, "2 hold"]
    test: Int[Tensor, "2 test"]


def split_edges(
    snapshot: Snapshot, *, seed: int, step: int, split_by: SplitBy = "edges"
) -> EdgeParts:
    """A tenth of the edges, rounded down, to test, as many to stop by, the rest to fit.

    Args:
        snapshot: Its weights are the numbers of edges of its pairs.
        seed: Of the evaluation, not negative.
        step: Number of the step; each has a split of its own.
        split_by: `pairs` = weights are no counts; each pair is one edge.

    Raises:
        ValueError: A weight is no whole number above 0 and edges are to be split.
    """
    weight = snapshot.weight.cpu().numpy().astype(np.float64)
    if split_by == "pairs":
        weight = np.ones_like(weight)
    elif not ((weight >= 1) & (weight == np.floor(weight))).all():
        raise ValueError(
            f"weights of step {step} are no counts of edges: split it with split_by='pairs'"
        )
    left = weight.astype(np.int64)
    num = int(left.sum()) // 10
    rng = np.random.default_rng([seed, step, _SPLIT_STREAM])
    parts = []
    for _ in ("test", "hold"):
        drawn = rng.multivariate_hypergeometric(left, num, method="marginals")
        left = left - drawn
        parts.append(drawn)
    test, hold, fit = (
        snapshot.edge_index[:, torch.from_numpy(part > 0)] for part in (*parts, left)
    )
    return EdgeParts(fit, hold, test)


def evaluate_live(
    predictors: Mapping[str, LinkPredictor],
    sequence: SnapshotSequence,
    *,
    seed: int,
    many: int = 1000,
    split_by: SplitBy = "edges",
    quiet: bool = False,
) -> dict[str, LinkResult]:
    """Live MRR of several predictors in one walk over the sequence.

    Args:
        predictors: Name -> predictor that has seen no step yet. `update` gives it each revealed
            step with its fit and hold parts, step 0 included.
        sequence: Directed, without empty steps.
        seed: Of splits and negatives.
        many: Negatives drawn for each source.
        split_by: `pairs` where the weights of the data are no numbers of edges.
        quiet: Show no progress.

    Returns:
        Name -> result, with `mrr` alone; values stand at the step that was scored.

    Raises:
        ValueError: The sequence is undirected, has an empty step or fewer than two, or no step has
            a test pair.
    """
    _check(sequence)
    collector = LinkCollector(predictors)
    revealed = split_edges(sequence[0], seed=seed, step=0, split_by=split_by)
    steps = range(1, len(sequence))
    for step in track(steps, len(steps), "scoring live", quiet=quiet):
        for predictor in predictors.values():
            predictor.update(sequence[step - 1], fit=revealed.fit, hold=revealed.hold)
        revealed = split_edges(sequence[step], seed=seed, step=step, split_by=split_by)
        if not revealed.test.shape[1]:
            collector.n_skipped += 1
            continue
        rng = np.random.default_rng([seed, step, _NEGATIVES_STREAM])
        sources = revealed.test[0].unique()
        negatives = uniform_negatives(
            sources, revealed.test, num_nodes=sequence.num_nodes, many=many, rng=rng
        )
        num_positives = revealed.test.shape[1]
        num_pairs = num_positives + negatives.numel()
        collector.open_step(step, num_pairs=num_pairs, num_positives=num_positives)
        for name, predictor in predictors.items():
            collector.add(name, {"mrr": live_mrr(predictor, revealed.test, sources, negatives)})
    return collector.results("live", "pessimistic", seed=seed, negatives=f"{many} uniform")


def live_mrr(
    scorer: PairScorer,
    positives: Int[Tensor, "2 positives"],
    sources: Int[Tensor, " sources"],
    negatives: Int[Tensor, "sources many"],
) -> float:
    """Live MRR of one step.

    Args:
        scorer: Scores given pairs.
        positives: Test pairs, sorted by source.
        sources: Their distinct sources, ascending.
        negatives: Targets for each source.
    """
    sources_of_negatives = sources.repeat_interleave(negatives.shape[1])
    pairs = torch.stack([sources_of_negatives, negatives.flatten()])
    scores = score_pairs(scorer, torch.cat([positives, pairs], dim=1)).numpy()
    refuse_nan(scores)
    num = positives.shape[1]
    first = np.searchsorted(positives[0].numpy(), sources.numpy())
    best = np.maximum.reduceat(scores[:num], first)
    rivals = scores[num:].reshape(tuple(negatives.shape))
    rank = 1 + np.count_nonzero(rivals >= best[:, None], axis=1)
    return float(np.mean(1 / rank))


def _check(sequence: SnapshotSequence) -> None:
    if not sequence.directed:
        raise ValueError(
            f"live update takes directed snapshots, {sequence.name} is undirected: read it with "
            "directed=True"
        )
    if len(sequence) < 2:
        raise ValueError(f"live update needs two steps, {sequence.name} has one")
    empty = [step for step, snapshot in enumerate(sequence) if not snapshot.num_edges]
    if empty:
        raise ValueError(
            f"live update takes no empty steps, {sequence.name} has {len(empty)}, the first is "
            f"{empty[0]}: read it with drop_empty=True"
        )
