"""A sequence as training sees it: inputs and structure up to a step, targets apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.inputs import GraphInput, InputBuilder
from graphs.structure import Structure, StructureStep


@dataclass
class GraphData:
    """Inputs are built once for each step and kept; nothing of step t knows of later ones."""

    sequence: SnapshotSequence
    builder: InputBuilder
    structure: Structure | None = None
    """Fresh: it walks along as steps are asked for."""
    _structures: list[StructureStep] = field(default_factory=list, repr=False)

    def input(self, step: int) -> GraphInput:
        """What a network reads of a step."""
        return self.builder.build(self.sequence[step])

    def window(self, step: int, context: int) -> list[GraphInput]:
        """Inputs of the steps step - context .. step, as far as the sequence goes back."""
        return [self.input(past) for past in range(max(0, step - context), step + 1)]

    def structure_at(self, step: int) -> StructureStep | None:
        """Counts of all edges up to a step, labels of those before it."""
        if self.structure is None:
            return None
        while len(self._structures) <= step:
            snapshot = self.sequence[len(self._structures)]
            self._structures.append(self.structure.advance(snapshot))
            self.structure.reveal(snapshot)
        return self._structures[step]

    def active_pool(self, step: int, context: int) -> Int[Tensor, " entries"]:
        """Nodes with an edge in the window, once for each step of it in which they had one."""
        window = self.sequence.snapshots[max(0, step - context) : step + 1]
        return torch.cat([active_nodes(snapshot) for snapshot in window])


def active_nodes(snapshot: Snapshot) -> Int[Tensor, " active"]:
    """Numbers of the nodes with an edge."""
    return snapshot.active.nonzero()[:, 0]


def training_chunks(steps: range, length: int) -> list[list[int]]:
    """Consecutive steps that share an optimiser step.

    Example:
        >>> training_chunks(range(5), 2)
        [[0, 1], [2, 3], [4]]
    """
    return [list(steps[start : start + length]) for start in range(0, len(steps), length)]


def targets_in(sequence: Sequence[Snapshot], steps: Sequence[int], name: str) -> int:
    """How many of the steps have any known target of that name (edge_label, node_label, value)."""
    count = 0
    for step in steps:
        target = getattr(sequence[step], name)
        if target is None:
            continue
        known = target.isfinite() if target.is_floating_point() else target >= 0
        count += bool(known.any())
    return count
