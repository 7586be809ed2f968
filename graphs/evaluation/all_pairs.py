"""Link metrics of one step over all N^2 ordered pairs, in row blocks.

    AP    of all pairs, self-pairs included
    MRR   mean over sources of the mean over their positives of 1 / rank among all N targets
    MRR, one against many: mean over positives of 1 / rank among the negatives given for each

Higher is better. Two passes: the first ranks each positive in its row and collects the positives'
scores, the second counts the pairs that reach each of those. Memory is that of a block plus the
positives, or of all scores where they fit `keep_bytes` and are then made once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy import ndarray
from torch import Tensor

from graphs.evaluation.average_precision import average_precision_of_counts, refuse_nan
from graphs.evaluation.ranks import (
    Ties,
    counts_within_rows,
    mean_over_sources,
    one_vs_many_ranks,
    tied_ranks,
)
from graphs.evaluation.threshold_counts import ThresholdCounts
from graphs.scorer import PairScorer

_SORTED_ROW = 24
"""Positives of a row from which sorting the row is cheaper than a scan for each."""


@dataclass(frozen=True)
class PairMetrics:
    """Link metrics of one step."""

    num_positives: int
    num_pairs: int
    ap: float
    mrr: float
    mrr_one_vs_many: float | None = None
    """None where no negatives were given."""

    @property
    def values(self) -> dict[str, float]:
        """Metric -> value, without what was not measured."""
        values = {"ap": self.ap, "mrr": self.mrr, "mrr_one_vs_many": self.mrr_one_vs_many}
        return {name: value for name, value in values.items() if value is not None}


def all_pairs_metrics(
    scorer: PairScorer,
    positives: Int[Tensor, "2 positives"],
    *,
    ties: Ties = "mean",
    filtered: bool = False,
    negatives: Int[Tensor, "positives many"] | None = None,
    block_pairs: int = 1 << 20,
    keep_bytes: int = 256 << 20,
) -> PairMetrics:
    """AP and MRR of a scorer on one step.

    Args:
        scorer: Scores all ordered pairs; called block by block, one or two times.
        positives: Pairs that exist, as in `Snapshot.edge_index`.
        ties: Rule for tied ranks. AP has one of its own.
        filtered: Leave a source's other positives out of the ranking.
        negatives: Targets against which each positive is ranked in `mrr_one_vs_many`.
        block_pairs: Pairs scored at a time (at least one row).
        keep_bytes: Keep all scores if they take no more; else they are made twice.

    Raises:
        ValueError: No positives, or not in order; a score is NaN; a block has a wrong shape.
    """
    source, target = _ordered_pairs(positives, scorer.num_nodes)
    many = None if negatives is None else negatives.cpu().numpy()
    kept: list[tuple[int, ndarray]] | None = [] if 4 * scorer.num_nodes**2 <= keep_bytes else None
    own = np.empty(len(source), np.float32)
    greater, equal = np.empty((2, len(source)), np.int64)
    reciprocal_many = np.empty(len(source))
    for start, scores in _blocks(scorer, block_pairs):
        refuse_nan(scores)
        inside = slice(*np.searchsorted(source, [start, start + len(scores)]))
        row, column = source[inside] - start, target[inside]
        own[inside] = scores[row, column]
        greater[inside], equal[inside] = _counts_in_row(scores, row, own[inside])
        if many is not None:
            rivals = scores[row[:, None], many[inside]]
            reciprocal_many[inside] = 1 / one_vs_many_ranks(own[inside], rivals, ties)
        if kept is not None:
            kept.append((start, scores))
    if filtered:
        greater_positives, equal_positives = counts_within_rows(source, own)
        greater = greater - greater_positives.astype(np.int64)
        equal = equal - equal_positives.astype(np.int64) + 1

    counts = ThresholdCounts(own, num_scores=scorer.num_nodes**2)
    for _, scores in _blocks(scorer, block_pairs) if kept is None else kept:
        counts.add(scores.reshape(-1))

    return PairMetrics(
        num_positives=len(source),
        num_pairs=scorer.num_nodes**2,
        ap=average_precision_of_counts(own, counts.thresholds, counts.at_least()),
        mrr=mean_over_sources(1 / tied_ranks(greater, equal, ties), source),
        mrr_one_vs_many=None if many is None else float(reciprocal_many.mean()),
    )


def _blocks(
    scorer: PairScorer, block_pairs: int
) -> Iterator[tuple[int, Float32[ndarray, "rows nodes"]]]:
    """First row and scores of each block; the same calls in every pass, so bitwise the same."""
    nodes = scorer.num_nodes
    rows = max(1, block_pairs // nodes)
    for start in range(0, nodes, rows):
        stop = min(start + rows, nodes)
        with torch.no_grad():
            scores = scorer.rows(start, stop).cpu().numpy()
        if scores.shape != (stop - start, nodes) or scores.dtype != np.float32:
            raise ValueError(
                f"rows({start}, {stop}) must give float32 [{stop - start}, {nodes}], got "
                f"{scores.dtype} {list(scores.shape)}"
            )
        yield start, np.ascontiguousarray(scores)


def _counts_in_row(
    scores: Float32[ndarray, "rows nodes"],
    row: Int[ndarray, " positives"],
    own: Float32[ndarray, " positives"],
) -> tuple[Int[ndarray, " positives"], Int[ndarray, " positives"]]:
    """Targets of each positive's row that score higher, and the same (itself included)."""
    greater, equal = np.empty((2, len(row)), np.int64)
    edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        targets = scores[row[start]]
        if stop - start < _SORTED_ROW:
            for positive in range(start, stop):
                greater[positive] = np.count_nonzero(targets > own[positive])
                equal[positive] = np.count_nonzero(targets == own[positive])
        else:
            targets = np.sort(targets)
            below = np.searchsorted(targets, own[start:stop], side="left")
            not_above = np.searchsorted(targets, own[start:stop], side="right")
            greater[start:stop] = len(targets) - not_above
            equal[start:stop] = not_above - below
    return greater, equal


def _ordered_pairs(
    positives: Int[Tensor, "2 positives"], num_nodes: int
) -> tuple[Int[ndarray, " positives"], Int[ndarray, " positives"]]:
    source, target = positives.cpu().numpy()
    if not len(source):
        raise ValueError("positives must not be empty: leave out steps without one")
    key = source * num_nodes + target
    if not (key[1:] > key[:-1]).all() or key[0] < 0 or source[-1] >= num_nodes:
        raise ValueError(
            f"positives must be distinct pairs of nodes below {num_nodes} in order of source and "
            "target, as in Snapshot.edge_index"
        )
    return source, target
