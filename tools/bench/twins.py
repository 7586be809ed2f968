"""One computation written in several ways: times of both passes in turn, and whether all agree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import timing

timing.one_thread()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402


class Passes(NamedTuple):
    """Times of one forward and backward pass."""

    forward: timing.Seconds
    backward: timing.Seconds

    @property
    def both(self) -> timing.Seconds:
        """The whole."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Graph:
    """A computation and the tensors that it is differentiated by, of half its squared norm."""

    forward: Callable[[], Tensor]
    leaves: Sequence[Tensor]

    def passes(self) -> Passes:
        """Time one forward and one backward pass."""
        watch = timing.Stopwatch()
        out = self.forward()
        forward = watch.read()
        cotangent = out.detach()
        watch = timing.Stopwatch()
        gradients = torch.autograd.grad(out, self.leaves, cotangent)
        backward = watch.read()
        del gradients  # freed outside the timed stretch
        return Passes(forward, backward)

    def results(self) -> list[Tensor]:
        """Outputs and all gradients."""
        out = self.forward()
        return [out.detach(), *torch.autograd.grad(out, self.leaves, out.detach())]


def difference(one: Graph, other: Graph) -> float:
    """Norm of the difference of outputs and gradients, relative to their norm."""
    a, b = (torch.cat([result.flatten() for result in g.results()]) for g in (one, other))
    return float((a - b).norm() / b.norm())


def report(
    label: str,
    graphs: Mapping[str, Graph],
    rounds: int,
    *,
    parts: Sequence[str] = ("forward", "backward", "both"),
) -> dict[str, dict[str, float]]:
    """Time all in turn, print a row a part, return the medians of peer / ours by part and peer.

    Args:
        label: Start of the rows.
        graphs: Ours under `ours`.
        rounds: Turns after a first one that is not counted.
        parts: Of `Passes`.
    """
    taken = timing.take_turns({name: graph.passes for name, graph in graphs.items()}, rounds)
    return {
        part: timing.print_turns(
            f"{label} {part}",
            {name: [getattr(passes, part) for passes in runs] for name, runs in taken.items()},
        )
        for part in parts
    }


def print_difference(label: str, build: Callable[[str, torch.dtype], Graph]) -> None:
    """Print how far fast and naive differ in float32 and float64, which tells rounding from error.

    Args:
        label: Start of the row.
        build: Makes the graph from `fast` or `naive` and a type.
    """
    apart = {
        dtype: difference(build("fast", dtype), build("naive", dtype))
        for dtype in (torch.float32, torch.float64)
    }
    print(
        f"  {label} relative difference of outputs and gradients: "
        f"float32 {apart[torch.float32]:.1e}, float64 {apart[torch.float64]:.1e}",
        flush=True,
    )
