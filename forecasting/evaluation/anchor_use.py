"""How anchors are used, and how far tokens lie from words.

Entropy of use H = -sum_a p_a ln p_a of the shares p_a of anchor a among all choices, in nats: ln V'
when all V' are chosen alike, 0 when one alone is, or when nothing was chosen.

Maximum mean discrepancy MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over all pairs, own
ones included (Gretton et al. 2012, MMD_b), k(u, v) = exp(-|u - v|^2 / (2 s^2)), s the median of the
distances between different rows of both sets together (median heuristic): 0 for equal sets, at most
2; lower is closer. Without a row on either side: an error.
"""

import math

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor


def anchors_used(counts: Int[Tensor, " anchors"]) -> int:
    """How many anchors were ever chosen.

    >>> anchors_used(torch.tensor([3, 0, 1]))
    2
    """
    return int((counts > 0).sum())


def use_entropy(counts: Int[Tensor, " anchors"]) -> float:
    """Entropy of the shares of choices, in nats.

    >>> round(use_entropy(torch.tensor([2, 2, 0, 0])), 4)
    0.6931
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    shares = counts[counts > 0].double() / total
    return float(-(shares * shares.log()).sum())


def squared_mmd(
    x: Float[Tensor, "rows dim"],
    y: Float[Tensor, "others dim"],
    *,
    bandwidth: float | None = None,
) -> float:
    """MMD^2 of two samples with an RBF kernel, in float64.

    Args:
        x: One sample.
        y: The other.
        bandwidth: s; none = the median of the distances between different rows.

    Raises:
        ValueError: An empty sample, a bandwidth that is not positive.
    """
    if not len(x) or not len(y):
        raise ValueError(f"both samples need a row, got {len(x)} and {len(y)}")
    if bandwidth is not None and bandwidth <= 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    rows = torch.cat([x, y]).double()
    squares = _squared_distances(rows - rows.mean(0))
    if bandwidth is None:
        pairs = squares[tuple(torch.triu_indices(len(rows), len(rows), 1))]
        apart = pairs[pairs > 0]
        if not len(apart):  # all rows are the same
            return 0.0
        bandwidth = math.sqrt(float(apart.median()))
    kernel = torch.exp(-squares / (2 * bandwidth**2))
    first, second = slice(None, len(x)), slice(len(x), None)
    within = kernel[first, first].mean() + kernel[second, second].mean()
    return float(within - 2 * kernel[first, second].mean())


def _squared_distances(rows: Float64[Tensor, "rows dim"]) -> Float64[Tensor, "rows rows"]:
    """By one product of matrices, ten times as fast as row by row; its rounding counts as 0."""
    norms = rows.square().sum(1)
    squares = norms[:, None] + norms - 2 * rows @ rows.T
    exact: Tensor = squares.where(squares > 1e-12 * norms.max(), 0.0)
    return exact


def drawn_rows(
    rows: Float[Tensor, "rows dim"], count: int, generator: torch.Generator
) -> Float[Tensor, "drawn dim"]:
    """At most `count` different rows, by the generator's draw."""
    chosen = torch.randperm(len(rows), generator=generator)[:count]
    return rows[chosen.to(rows.device)]
