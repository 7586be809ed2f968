"""From a configuration to what training needs: the sequence, its split, the network's sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foretell.errors import UserError
from graphs.config import TrainConfig
from graphs.data.readers import read_graph
from graphs.data.snapshots import SnapshotSequence
from graphs.data.splits import (
    Split,
    check_classes,
    check_enough_steps,
    check_targets,
    split_steps,
)
from graphs.data_config import DataConfig
from graphs.graph_data import GraphData
from graphs.inputs import InputBuilder, feature_width
from graphs.model_config import NetworkConfig, Task
from graphs.structure import Structure
from graphs.validation import TARGETS

LIVE_STEP_S = 604_800.0
"""A week, as in live update."""


@dataclass(frozen=True)
class Problem:
    """A graph and the question asked of it."""

    sequence: SnapshotSequence
    split: Split
    network: NetworkConfig
    live: SnapshotSequence | None = None
    """As the protocol `live` reads it, where it is asked for."""

    def scored(self, parts: Sequence[Literal["val", "test"]]) -> dict[str, range]:
        """Parts to score and their steps."""
        return {part: getattr(self.split, part) for part in parts}

    def data(self) -> GraphData:
        """Inputs and structure, fresh."""
        structure = None
        if self.network.structure.enabled:
            structure = Structure(
                self.network.structure, self.sequence.num_nodes, directed=self.network.directed
            )
        return GraphData(self.sequence, InputBuilder(self.network), structure)


def pose(config: TrainConfig, sequence: SnapshotSequence) -> Problem:
    """The problem of a configuration on a sequence.

    Raises:
        UserError: Too few steps, in `live` too, a part of the split without a target, class
            weights of another number, structure that the data cannot give.
    """
    task = config.task
    check_enough_steps(sequence, 4, f"task {task}")
    split = split_steps(
        len(sequence), config.split, context=config.model.past_steps, links=task == "link"
    )
    if task in TARGETS:
        check_targets(sequence, split, TARGETS[task])
    if task in ("edge", "node"):
        check_classes(sequence, split, TARGETS[task])
    _check_positives(task, sequence, split)
    if config.structure.lags and task != "regression":
        raise UserError(f"structure.lags has no effect with task {task}: drop it")
    if config.structure.reputation and sequence[0].edge_label is None:
        raise UserError(f"structure.reputation needs labelled edges, {sequence.name} has none")
    width, columns = feature_width(sequence, config.features, train_steps=split.train.stop)
    network = NetworkConfig(
        task=task,
        model=config.model,
        features=config.features,
        head=config.head,
        structure=config.structure,
        feature_dim=width,
        columns=columns,
        num_classes=num_classes(task, sequence, split),
        edge_columns=_edge_columns(task, sequence),
        directed=sequence.directed,
    )
    weights = config.head.class_weights
    if task == "regression" and weights:
        raise UserError("head.class_weights has no effect with task regression: drop it")
    if weights and len(weights) != network.num_classes:
        raise UserError(
            f"head.class_weights has {len(weights)} weights for {network.num_classes} classes"
        )
    asked = task == "link" and "live" in config.eval.protocols
    live = read_live(config.data, sequence) if asked else None
    return Problem(sequence, split, network, live)


def num_classes(task: Task, sequence: SnapshotSequence, split: Split) -> int:
    """Answers of the head; classes are those of the training and validation labels.

    Raises:
        UserError: The test has a class that training and validation lack, or there is one class.
    """
    if task in ("link", "regression"):
        return 2 if task == "link" else 1
    target = TARGETS[task]

    def highest(steps: range) -> int:
        labels = [getattr(sequence[step], target) for step in steps]
        return max(int(label.max()) for label in labels if label is not None and len(label))

    known, of_test = highest(range(split.val.stop)), highest(split.test)
    if of_test > known:
        raise UserError(
            f"{sequence.name}: class {of_test} is in the test alone; choose another split"
        )
    if known < 1:
        raise UserError(f"{sequence.name}: all labels are of one class; two or more are needed")
    return known + 1


def read_live(config: DataConfig, sequence: SnapshotSequence) -> SnapshotSequence:
    """The same data as live update reads it: directed, without empty steps, weeks from 1970.

    Args:
        config: What was read.
        sequence: As it was read; where the data number their steps (a file a day of AS-733), these
            are kept.

    Raises:
        UserError: Fewer than two steps are left.
    """
    numbered = sequence.step_s is None
    step_s = config.step_s if numbered else config.step_s or LIVE_STEP_S
    align: Literal["first", "epoch"] = "first" if numbered else "epoch"
    live = read_graph(replace(config, directed=True, drop_empty=True, step_s=step_s, align=align))
    check_enough_steps(live, 2, "protocol live")
    return live


def check_fits(network: NetworkConfig, sequence: SnapshotSequence, directory: str) -> None:
    """Refuse data of another kind than the network was trained on.

    Raises:
        UserError: Directions, columns of edges or columns of nodes differ.
    """
    found = {
        "directed": (network.directed, sequence.directed),
        "edge_columns": (network.edge_columns, _edge_columns(network.task, sequence)),
    }
    if network.columns:
        x = sequence[0].x
        found["feature_dim"] = (network.feature_dim, 0 if x is None else x.shape[1])
    for name, (own, given) in found.items():
        if own != given:
            raise UserError(
                f"{directory} has {name} {own}, {sequence.name} {given}: give data of the kind it "
                "was trained on"
            )


def _edge_columns(task: Task, sequence: SnapshotSequence) -> int:
    attributes = sequence[0].edge_attr
    return attributes.shape[1] if task == "edge" and attributes is not None else 0


def _check_positives(task: Task, sequence: SnapshotSequence, split: Split) -> None:
    """Refuse a part of a link problem that has no edge to forecast."""
    if task != "link":
        return
    parts = {"training": split.train, "validation": split.val, "test": split.test}
    for name, steps in parts.items():
        if not any(sequence[step + 1].num_edges for step in steps):
            raise UserError(
                f"{sequence.name}: no edge to forecast in the {name} steps {steps.start}.."
                f"{steps.stop - 1}; choose another data.step_s or split"
            )
