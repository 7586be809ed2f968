"""Ranges of the published splits, and parts that would be empty."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foretell.errors import UserError
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.data.splits import Split, check_enough_steps, check_targets, split_steps
from graphs.data_config import SplitConfig


@pytest.mark.parametrize(
    ("steps", "share", "context", "links", "train", "val", "test"),
    [
        (138, 0.70, 10, True, range(10, 95), range(95, 109), range(109, 137)),  # OTC
        (138, 0.70, 10, False, range(10, 95), range(95, 109), range(109, 138)),
        (89, 0.71, 10, True, range(10, 62), range(62, 71), range(71, 88)),  # UCI
        (49, 0.65, 5, False, range(5, 31), range(31, 36), range(36, 49)),  # Elliptic
        (50, 0.70, 5, True, range(5, 34), range(34, 39), range(39, 49)),  # SBM
        (100, 0.70, 10, True, range(10, 69), range(69, 79), range(79, 99)),  # AS-733
    ],
)
def test_published_ranges(steps, share, context, links, train, val, test):
    split = split_steps(steps, SplitConfig(train_share=share), context=context, links=links)
    assert split == Split(train, val, test)


def test_shares_are_decimal_fractions():
    """.7 + .1 and .7 * 90 are a little too small as binary fractions."""
    assert split_steps(11, SplitConfig(), context=0, links=True).test == range(8, 10)
    assert split_steps(91, SplitConfig(), context=0, links=True).train == range(63)


@given(
    st.integers(1, 200), st.integers(0, 20), st.booleans(),
    st.integers(1, 8), st.integers(1, 5),
)  # fmt: skip
def test_parts_follow_each_other_or_are_refused(steps, context, links, train, val):
    if train + val >= 10:
        return
    config = SplitConfig(train_share=train / 10, val_share=val / 10)
    try:
        split = split_steps(steps, config, context=context, links=links)
    except UserError as error:
        assert "leave no step for" in str(error)
        return
    joined = [*split.train, *split.val, *split.test]
    assert joined == list(range(context, steps - 1 if links else steps))
    assert split.train and split.val and split.test
    assert len(split.train) + context == train * (steps - 1) // 10


@pytest.mark.parametrize(
    ("steps", "context", "part"),
    [(1, 0, "training"), (11, 10, "training"), (4, 0, "validation"), (30, 25, "training")],
)
def test_an_empty_part_is_named(steps, context, part):
    with pytest.raises(UserError, match=f"{steps} snapshots leave no step for {part}"):
        split_steps(steps, SplitConfig(), context=context, links=True)


def sequence(labels) -> SnapshotSequence:
    """A pair a step with the given labels, None = the field is missing."""
    graphs = tuple(
        Snapshot(
            num_nodes=2,
            edge_index=torch.tensor([[0], [1]]),
            weight=torch.ones(1),
            edge_label=None if label is None else torch.tensor([label]),
            value=torch.tensor([float("nan"), 1.0 if label == 1 else float("nan")]),
        )
        for label in labels
    )
    return SnapshotSequence(name="toy", snapshots=graphs, node_ids=np.arange(2), step_s=60.0)


def test_labels_missing_in_a_part_are_told():
    split = Split(range(0, 2), range(2, 3), range(3, 5))
    check_targets(sequence([1, None, 0, -1, 1]), split, "edge_label")
    with pytest.raises(UserError, match=r"no labelled edge in the validation steps 2\.\.2"):
        check_targets(sequence([1, 1, -1, 1, 1]), split, "edge_label")
    with pytest.raises(UserError, match="toy has no labelled edge: name the column"):
        check_targets(sequence([-1, None, -1, -1, -1]), split, "edge_label")
    with pytest.raises(UserError, match="toy has no labelled node"):
        check_targets(sequence([1] * 5), split, "node_label")
    with pytest.raises(UserError, match=r"no value of a node in the test steps 3\.\.4"):
        check_targets(sequence([1, 0, 1, 0, 0]), split, "value")


def test_a_single_snapshot_is_told():
    check_enough_steps(sequence([1, 1]), 2, "link prediction")
    with pytest.raises(UserError, match=r"toy has 1 snapshot\(s\) of 60 s; link prediction needs"):
        check_enough_steps(sequence([1]), 2, "link prediction")
