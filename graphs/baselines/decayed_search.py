"""Settings of `DecayedPairs` by validation MAP over all pairs, without visiting all pairs.

Away from the pairs that have met, a score is the product of two degrees, and few degrees differ:
counting such pairs by groups of equal degree gives the exact AP in a tenth of the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray
from torch import Tensor

from foretell.track import track
from graphs.baselines.decayed_pairs import DecayedPairs
from graphs.data.snapshots import SnapshotSequence
from graphs.evaluation.average_precision import average_precision_of_counts

DECAYS = (0.3, 0.5, 0.8, 0.9, 0.95)
EPSILONS = (1e-3, 1.0, 30.0)


@dataclass(frozen=True)
class DecayedChoice:
    """The chosen settings and what was compared."""

    decay: float
    eps: float
    val_map: Mapping[tuple[float, float], float]
    """(decay, eps) -> MAP on the validation steps."""
    n_steps: int
    """Validation steps with a positive."""
    n_skipped: int
    """Validation steps without one."""


def choose_decayed_pairs(
    sequence: SnapshotSequence,
    val: range,
    *,
    decays: Sequence[float] = DECAYS,
    epsilons: Sequence[float] = EPSILONS,
    quiet: bool = False,
) -> DecayedChoice:
    """Decay and eps with the highest MAP on the steps after those of `val`; the first of equals.

    Args:
        sequence: Read up to step max(val) + 1.
        val: Steps t; the pairs of t + 1 are forecast from steps up to t.
        decays: Candidates.
        epsilons: Candidates for each decay.
        quiet: Show no progress.

    Raises:
        ValueError: `val` does not lie inside the sequence or no step after it has a pair.
    """
    if not val or min(val) < 0 or max(val) + 1 >= len(sequence):
        raise ValueError(f"val must lie in [0, {len(sequence) - 1}), got {val}")
    scored = [step for step in val if sequence[step + 1].num_edges]
    if not scored:
        raise ValueError(f"no step after {val} has a pair to choose decay and eps by")
    values: dict[tuple[float, float], list[float]] = {
        (decay, eps): [] for decay in decays for eps in epsilons
    }
    for decay in track(decays, len(decays), "settings of decayed pairs", quiet=quiet):
        predictor = DecayedPairs(sequence.num_nodes, decay, directed=sequence.directed)
        for step in range(max(scored) + 1):
            predictor.update(sequence[step])
            if step in scored:
                positives = sequence[step + 1].edge_index
                for eps in epsilons:
                    ap = decayed_average_precision(predictor, positives, eps)
                    values[decay, eps].append(ap)
    val_map = {setting: float(np.mean(of_steps)) for setting, of_steps in values.items()}
    decay, eps = max(val_map, key=val_map.__getitem__)
    return DecayedChoice(decay, eps, val_map, len(scored), len(val) - len(scored))


def decayed_average_precision(
    predictor: DecayedPairs, positives: Int[Tensor, "2 positives"], eps: float
) -> float:
    """AP over all pairs as `all_pairs_metrics` gives it, for any eps.

    Args:
        predictor: Its counts and degrees are used, its own eps is not.
        positives: At least one pair.
        eps: Weight of the degree product.
    """
    degrees, scale = predictor.degrees.numpy(), predictor.product_scale(eps)
    source, target = positives.cpu().numpy()
    own = degrees[source] * degrees[target] * scale + predictor.counts(positives).numpy()
    thresholds = np.unique(own)
    met_source, met_target, count = predictor.entries()
    met_product = degrees[met_source] * degrees[met_target] * scale
    at_least = _products_reaching(degrees, scale, thresholds)
    at_least -= _reaching(met_product, thresholds)
    at_least += _reaching(met_product + count, thresholds)
    return average_precision_of_counts(own, thresholds, at_least)


def _reaching(
    scores: Float32[ndarray, " scores"], thresholds: Float32[ndarray, " thresholds"]
) -> Int[ndarray, " thresholds"]:
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _products_reaching(
    degrees: Float32[ndarray, " nodes"],
    scale: np.float32,
    thresholds: Float32[ndarray, " thresholds"],
) -> Int[ndarray, " thresholds"]:
    """Ordered pairs of nodes whose scaled product of degrees reaches each threshold."""
    values, size = np.unique(degrees, return_counts=True)
    not_below = np.append(np.cumsum(size[::-1])[::-1], 0)
    reaching = np.zeros(len(thresholds), np.int64)
    for value, num in zip(values, size, strict=True):
        # Rounding keeps the order, so a row of products ascends as the degrees do.
        reaching += num * not_below[np.searchsorted(value * values * scale, thresholds)]
    return reaching
