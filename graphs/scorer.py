"""What is scored: anything that gives a number to ordered pairs of nodes."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from graphs.data.snapshots import Snapshot


@runtime_checkable
class PairScorer(Protocol):
    """Scores of ordered pairs (u, v) for the next step; higher = likelier. Bitwise repeatable."""

    num_nodes: int
    """N: pairs are numbered in [0, N)."""

    def rows(self, start: int, stop: int) -> Float[Tensor, "rows nodes"]:
        """Scores of all targets for the sources start .. stop - 1, self-pairs included, float32."""
        ...

    def pairs(self, pairs: Int[Tensor, "2 pairs"]) -> Float[Tensor, " pairs"]:
        """Scores of given pairs, float32; nearly but not bitwise equal to those of `rows`."""
        ...


@runtime_checkable
class LinkPredictor(PairScorer, Protocol):
    """A scorer that goes along a sequence: after `update(step t)` it scores the pairs of t + 1."""

    def update(
        self,
        snapshot: Snapshot,
        *,
        fit: Int[Tensor, "2 fit"] | None = None,
        hold: Int[Tensor, "2 hold"] | None = None,
    ) -> None:
        """Take in the step that has just been revealed.

        Args:
            snapshot: All of it: what later steps may be forecast from.
            fit: Pairs that a method which keeps learning may learn from (live update: 80 % of
                them); none = all pairs of the snapshot.
            hold: Pairs on which it stops early (live update: 10 %); none = it has none.
        """
        ...
