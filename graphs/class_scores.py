"""Scores of classes and numbers: trained networks beside the untrained baselines."""

import logging
from collections.abc import Mapping

from foretell.config import RunOptions
from graphs.baselines.degree_logistic import DegreeLogistic
from graphs.baselines.feature_logistic import FeatureLogistic
from graphs.baselines.last_value import LastValue
from graphs.baselines.majority_class import MajorityClass
from graphs.baselines.node_reputation import NodeReputation
from graphs.class_walk import TrainedClasses, TrainedValues
from graphs.config import TrainConfig
from graphs.data.snapshots import SnapshotSequence
from graphs.evaluation.labels import (
    LabelPredictor,
    Target,
    evaluate_labels,
    known_labels,
    minority_class,
)
from graphs.evaluation.values import ValuePredictor, evaluate_values
from graphs.inputs import InputBuilder
from graphs.network import GraphNetwork
from graphs.problem import Problem
from graphs.validation import TARGETS

_log = logging.getLogger(__name__)


def score_classes(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    options: RunOptions,
) -> dict[str, float]:
    """Metrics by name of edge or node classes; the second threshold is chosen on validation.

    The minority class is the rarest one of the training labels.
    """
    target = TARGETS[config.task]
    assert target != "value"
    sequence, split = problem.sequence, problem.split
    minority = minority_class(sequence, split.train, target)
    to_choose_by: range | None = split.val
    if not _occurs(sequence, split.val, target, minority):
        _log.warning(
            "no item of class %d in the validation steps: no threshold is chosen there, classes "
            "are those of the largest logit alone",
            minority,
        )
        to_choose_by = None
    metrics: dict[str, float] = {}
    for part, steps in problem.scored(config.eval.parts).items():
        builder = InputBuilder(problem.network)
        predictors: dict[str, LabelPredictor] = {
            who: TrainedClasses(net, builder, sequence.num_nodes) for who, net in networks.items()
        }
        if config.eval.baselines:
            predictors |= _untrained(problem, target)
        scored = evaluate_labels(
            predictors, sequence, steps,
            target=target, minority=minority, val=to_choose_by if part == "test" else None,
            quiet=options.quiet,
        )  # fmt: skip
        for who, result in scored.items():
            metrics.update(result.flat(part, who))
    return metrics


def score_values(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    options: RunOptions,
) -> dict[str, float]:
    """Metrics by name of node regression, the last value beside the networks."""
    sequence = problem.sequence
    metrics: dict[str, float] = {}
    for part, steps in problem.scored(config.eval.parts).items():
        builder = InputBuilder(problem.network)
        predictors: dict[str, ValuePredictor] = {
            who: TrainedValues(net, builder, sequence.num_nodes) for who, net in networks.items()
        }
        if config.eval.baselines:
            predictors["last_value"] = LastValue(sequence.num_nodes)
        for who, result in evaluate_values(
            predictors, sequence, steps, quiet=options.quiet
        ).items():
            metrics.update(result.flat(part, who))
    return metrics


def _occurs(sequence: SnapshotSequence, steps: range, target: Target, label: int) -> bool:
    found = (known_labels(sequence[step], target)[1] for step in steps)
    return any(bool((one == label).any()) for one in found)


def _untrained(problem: Problem, target: Target) -> dict[str, LabelPredictor]:
    sequence, split, classes = problem.sequence, problem.split, problem.network.num_classes
    found: dict[str, LabelPredictor] = {"majority": MajorityClass(classes, target)}
    if target == "edge_label":
        found["degree_logistic"] = DegreeLogistic.fit(sequence, split.train, num_classes=classes)
        if classes == 2:
            found["reputation"] = NodeReputation(sequence.num_nodes, directed=sequence.directed)
    elif sequence[0].x is not None:
        found["feature_logistic"] = FeatureLogistic.fit(
            sequence, split.train, split.val, num_classes=classes
        )
    return found
