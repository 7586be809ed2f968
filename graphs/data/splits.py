"""Steps for training, validation and test, in the order of time."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from foretell.errors import UserError
from graphs.data.snapshots import SnapshotSequence
from graphs.data_config import SplitConfig

Target = Literal["edge_label", "node_label", "value"]
_WHAT = {"edge_label": "labelled edge", "node_label": "labelled node", "value": "value of a node"}


@dataclass(frozen=True)
class Split:
    """Numbers of the samples of each part; sample t has the steps up to t as input."""

    train: range
    val: range
    test: range


def split_steps(num_steps: int, split: SplitConfig, *, context: int, links: bool) -> Split:
    """Cut samples by time, as the released code of EvolveGCN does.

    With m = num_steps - 1: train [context, floor(p m)), val [.., floor((p + v) m)), test to the
    end. The label of a link sample is step t + 1, so that links end at t = m - 1; classes and
    numbers are those of step t and end at m.

    Args:
        num_steps: Snapshots.
        split: p and v.
        context: Past steps in the input of the first sample.
        links: Whether samples have the next step as their label.

    Raises:
        UserError: A part is left without a sample.

    Example:
        >>> split_steps(138, SplitConfig(), context=10, links=True)
        Split(train=range(10, 95), val=range(95, 109), test=range(109, 137))
    """
    last = num_steps - 1
    # Binary fractions: .7 + .1 is below .8, and .7 * 90 below 63.
    train_end = math.floor(split.train_share * last + 1e-9)
    val_end = math.floor((split.train_share + split.val_share) * last + 1e-9)
    parts = {
        "training": range(context, train_end),
        "validation": range(max(train_end, context), val_end),
        "test": range(max(val_end, context), last if links else last + 1),
    }
    for name, steps in parts.items():
        if not steps:
            raise UserError(
                f"{num_steps} snapshots leave no step for {name}: training would be steps "
                f"{context}..{train_end - 1}, validation ends at {val_end - 1} and the test at "
                f"{parts['test'].stop - 1}; choose a smaller data.step_s, another split or a "
                "shorter context"
            )
    return Split(*parts.values())


def check_enough_steps(sequence: SnapshotSequence, needed: int, what: str) -> None:
    """Refuse a sequence that is too short for `what`, such as "link prediction".

    Raises:
        UserError: It has fewer than `needed` snapshots.
    """
    if len(sequence) < needed:
        seconds = f" of {sequence.step_s:,.10g} s" if sequence.step_s else ""
        raise UserError(
            f"{sequence.name} has {len(sequence)} snapshot(s){seconds}; {what} needs at least "
            f"{needed}: choose a smaller data.step_s, or give data over a longer time"
        )


def check_targets(sequence: SnapshotSequence, split: Split, target: Target) -> None:
    """Refuse a sequence in which a part of the split has nothing to learn or to score.

    Raises:
        UserError: Naming the part and its steps.
    """
    parts = {"training": split.train, "validation": split.val, "test": split.test}
    if not any(_has(sequence, step, target) for step in range(len(sequence))):
        raise UserError(
            f"{sequence.name} has no {_WHAT[target]}: name the column with data.columns.label, or "
            "choose another task"
        )
    for name, steps in parts.items():
        if not any(_has(sequence, step, target) for step in steps):
            raise UserError(
                f"{sequence.name}: no {_WHAT[target]} in the {name} steps {steps.start}.."
                f"{steps.stop - 1}; choose another data.step_s or split"
            )


def check_classes(sequence: SnapshotSequence, split: Split, target: Target) -> None:
    """Refuse classes of which training has one alone.

    Raises:
        UserError: Naming the steps.
    """
    labels = [getattr(sequence[step], target) for step in split.train]
    known = torch.cat([one[one >= 0] for one in labels if one is not None])
    if len(known.unique()) < 2:
        raise UserError(
            f"{sequence.name}: all {_WHAT[target]} of the training steps {split.train.start}.."
            f"{split.train.stop - 1} are of one class; choose another split or data.step_s"
        )


def _has(sequence: SnapshotSequence, step: int, target: Target) -> bool:
    values = getattr(sequence[step], target)
    if values is None:
        return False
    known = values.isfinite() if values.is_floating_point() else values >= 0
    return bool(known.any())
