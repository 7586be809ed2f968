from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy_links import toy_sequence

from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluation.classification import best_f1_threshold, class_metrics
from graphs.evaluation.labels import (
    Target,
    collect_logits,
    evaluate_labels,
    known_labels,
    minority_class,
)


def labelled(target: Target, seed: int = 0) -> SnapshotSequence:
    """Labels 0, 1 or unknown of every pair or node; none at step 2."""
    sequence = toy_sequence(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    changed = []
    for step, snapshot in enumerate(sequence):
        size = snapshot.num_edges if target == "edge_label" else snapshot.num_nodes
        labels = torch.randint(-1, 2, (size,), generator=generator)
        changed.append(replace(snapshot, **{target: labels if step != 2 else None}))
    return replace(sequence, snapshots=tuple(changed))


class Counter:
    """Logits that tell the step and the item; remembers what it was shown."""

    def __init__(self, target: Target) -> None:
        self.target, self.updates, self.asked = target, [], []

    def update(self, snapshot: Snapshot) -> None:
        self.updates.append(snapshot)

    def logits(self, snapshot: Snapshot) -> Tensor:
        self.asked.append(snapshot)
        size = snapshot.num_edges if self.target == "edge_label" else snapshot.num_nodes
        item = torch.arange(size, dtype=torch.float64)
        return torch.stack([torch.zeros(size), torch.sin(item + len(self.updates))], dim=1)


@pytest.mark.parametrize("target", ["edge_label", "node_label"])
def test_labels_of_a_step_come_after_its_logits(target: Target) -> None:
    sequence, predictor = labelled(target), Counter(target)
    collected = collect_logits({"a": predictor}, sequence, [1, 3], target=target, quiet=True)["a"]
    assert [one.step for one in collected] == [1, 3]
    assert len(predictor.updates) == 4 and predictor.updates[3] is sequence[3]
    for asked in predictor.asked:
        assert asked.edge_label is asked.node_label is None
    known, labels = known_labels(sequence[3], target)
    assert collected[1].labels.tolist() == labels.tolist()
    expected = torch.sin(known.double() + 3)
    assert collected[1].logits[:, 1].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("target", ["edge_label", "node_label"])
def test_the_threshold_comes_from_validation(target: Target) -> None:
    sequence = labelled(target)
    result = evaluate_labels(
        {"a": Counter(target)}, sequence, range(2, 6), val=range(0, 2), target=target, minority=1,
        quiet=True,
    )["a"]  # fmt: skip
    collected = collect_logits(
        {"a": Counter(target)}, sequence, range(6), target=target, quiet=True
    )
    threshold = best_f1_threshold(collected["a"][:2], minority=1)
    assert result.threshold == threshold
    assert result.metrics == class_metrics(collected["a"][2:], minority=1, threshold=threshold)
    assert (result.n_skipped, result.metrics.n_steps) == (1, 3)
    flat = result.flat("test", "a")
    assert flat["test/fixed/a/auc"] == result.metrics.auc
    assert flat["test/fixed/a/n_skipped"] == 1


def test_without_validation_there_is_argmax_alone() -> None:
    sequence = labelled("node_label")
    result = evaluate_labels(
        {"a": Counter("node_label")}, sequence, range(3, 6), target="node_label", minority=0,
        protocol="fixed_online", quiet=True,
    )["a"]  # fmt: skip
    assert result.threshold is None and result.metrics.minority_f1_val_threshold is None
    assert all(name.startswith("val/fixed_online/b/") for name in result.flat("val", "b"))


def test_minority_is_the_rarest_class_that_occurs() -> None:
    sequence = toy_sequence(per_step=(3, 3))
    labels = torch.tensor([2, 2, 2, 3, 3, 0, 0, 0, -1, -1, -1, -1])
    one = replace(sequence[0], node_label=labels)
    sequence = replace(sequence, snapshots=(one, sequence[1]))
    assert minority_class(sequence, range(0, 2), "node_label") == 3
    with pytest.raises(ValueError, match="has no two classes"):
        minority_class(sequence, range(1, 2), "node_label")


def test_wrong_steps_are_refused() -> None:
    sequence = labelled("node_label")
    for steps in ([], [6], [-1]):
        with pytest.raises(ValueError, match=r"must lie in \[0, 6\)"):
            collect_logits({}, sequence, steps, target="node_label", quiet=True)
    with pytest.raises(ValueError, match="no labelled item"):
        evaluate_labels(
            {"a": Counter("node_label")}, sequence, range(2, 3), target="node_label", minority=0,
            quiet=True,
        )  # fmt: skip
