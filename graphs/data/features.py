"""Degrees of nodes as one-hot features that are kept as the number of their column."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.data.snapshots import Snapshot, SnapshotSequence

_log = logging.getLogger(__name__)

Degree = Literal["one_hot", "log_bins"]
Width = Literal["train", "official"]


@dataclass(frozen=True)
class OneHot:
    """A matrix [nodes, width] with a single 1 in every row: X W = W[index], X p = p[index].

    Raises:
        ValueError: A column out of range.
    """

    index: Int[Tensor, " nodes"]
    """Column of the 1 in every row."""
    width: int
    """Columns."""

    def __post_init__(self) -> None:
        if self.index.numel() and not 0 <= int(self.index.min()) <= int(self.index.max()) < (
            self.width
        ):
            raise ValueError(
                f"columns must lie in [0, {self.width}), got {int(self.index.min())} to "
                f"{int(self.index.max())}"
            )

    def dense(self) -> Float[Tensor, "nodes width"]:
        """The matrix itself, float32: for tests, and for what is no linear map."""
        rows = torch.arange(len(self.index), device=self.index.device)
        matrix = torch.zeros(len(self.index), self.width, device=self.index.device)
        matrix[rows, self.index] = 1.0
        return matrix

    def to(self, device: torch.device | str) -> "OneHot":
        """The same on another device."""
        return OneHot(self.index.to(device), self.width)


def distinct_neighbours(snapshot: Snapshot, *, directed: bool = False) -> Int[Tensor, " nodes"]:
    """Distinct neighbours of every node, itself included where it has a self-loop.

    Args:
        snapshot: The graph of a step.
        directed: Pairs may stand in one direction alone; a neighbour of either direction counts.
    """
    if not directed:
        return snapshot.out_degree
    source, target = snapshot.edge_index
    back = target * snapshot.num_nodes + source
    keys = torch.unique(torch.cat([snapshot.pair_keys, back]))
    return torch.bincount(keys // snapshot.num_nodes, minlength=snapshot.num_nodes)


def degree_width(
    snapshots: Sequence[Snapshot],
    *,
    degree: Degree = "one_hot",
    max_degree: int | None = 256,
    directed: bool = False,
) -> int:
    """Columns that the degrees of these snapshots need: 1 + the largest column.

    Args:
        snapshots: Steps whose degrees may be looked at.
        degree: `one_hot` a column for each degree; `log_bins` one for 0, 1, 2-3, 4-7, ...
        max_degree: Of `one_hot`: larger degrees share the last column; none = no cap. What is
            capped is logged, since the gates of the model have the square of this width.
        directed: As in `distinct_neighbours`.

    Raises:
        ValueError: No snapshot.
    """
    if not len(snapshots):
        raise ValueError("degree_width needs a snapshot, got none")
    largest = max(int(distinct_neighbours(one, directed=directed).max()) for one in snapshots)
    if degree == "log_bins":
        return 1 + largest.bit_length()
    if max_degree is not None and largest > max_degree:
        _log.info(
            "features: degrees reach %d; those above %d share the last of %d columns",
            largest,
            max_degree,
            max_degree + 1,
        )
        largest = max_degree
    return 1 + largest


def one_hot_degrees(
    snapshot: Snapshot, width: int, *, degree: Degree = "one_hot", directed: bool = False
) -> OneHot:
    """Column of every node at a step; what lies beyond the width is in the last column.

    Example:
        >>> pairs = torch.tensor([[0, 0, 0], [1, 2, 3]])
        >>> star = Snapshot(num_nodes=4, edge_index=pairs, weight=torch.ones(3))
        >>> one_hot_degrees(star, 3).index
        tensor([2, 0, 0, 0])
    """
    index = distinct_neighbours(snapshot, directed=directed)
    if degree == "log_bins":
        _, index = torch.frexp(index.double())  # 2**(bin - 1) <= degree < 2**bin
    return OneHot(index.long().clamp(max=width - 1), width)


def degree_columns(
    sequence: SnapshotSequence,
    *,
    train_steps: int,
    degree: Degree = "one_hot",
    width: Width = "train",
    max_degree: int = 256,
) -> tuple[OneHot, ...]:
    """One-hot degrees of every step of a sequence.

    Args:
        sequence: All steps.
        train_steps: The first so many steps are known in training.
        degree: A column for each degree, or bins of the log of the degree.
        width: `train` = by the degrees of the training steps, capped by `max_degree`; `official`
            = by all steps but the last, uncapped, as in the released code of EvolveGCN, which
            looks at degrees of the test steps.
        max_degree: Cap of `one_hot` with `train`.
    """
    known = train_steps if width == "train" else max(len(sequence) - 1, 1)
    columns = degree_width(
        sequence.snapshots[:known],
        degree=degree,
        max_degree=max_degree if width == "train" else None,
        directed=sequence.directed,
    )
    return tuple(
        one_hot_degrees(snapshot, columns, degree=degree, directed=sequence.directed)
        for snapshot in sequence
    )
