"""What is measured between epochs: validation steps alone, parameters frozen, from step 0 on."""

from graphs.class_walk import TrainedClasses, TrainedValues
from graphs.data.splits import Split, Target
from graphs.evaluation.fixed import evaluate_fixed, evaluate_sampled
from graphs.evaluation.labels import evaluate_labels, minority_class
from graphs.evaluation.values import evaluate_values
from graphs.graph_data import GraphData
from graphs.model_config import Task
from graphs.network import GraphNetwork
from graphs.walk import TrainedLinks

TARGETS: dict[Task, Target] = {"edge": "edge_label", "node": "node_label", "regression": "value"}


def validate(
    network: GraphNetwork, data: GraphData, split: Split, *, seed: int, negatives_share: float
) -> dict[str, float]:
    """Metrics over the validation steps: `map`, `mrr` of links; of classes and numbers theirs.

    Links: all positives and a seeded share of the other pairs, the same in every epoch; all of
    them in blocks where the share is 1.
    """
    sequence, builder = data.sequence, data.builder
    match task := network.config.task:
        case "link":
            links = {"model": TrainedLinks(network, builder, sequence.num_nodes)}
            if negatives_share == 1:
                results = evaluate_fixed(links, sequence, split.val, many=0, quiet=True)
            else:
                results = evaluate_sampled(
                    links, sequence, split.val, seed=seed, share=negatives_share
                )
            return results["model"].means
        case "edge" | "node":
            target = TARGETS[task]
            assert target != "value"
            classes = {"model": TrainedClasses(network, builder, sequence.num_nodes)}
            found = evaluate_labels(
                classes, sequence, split.val, target=target,
                minority=minority_class(sequence, split.train, target), quiet=True,
            )  # fmt: skip
            return found["model"].metrics.values
        case "regression":
            numbers = {"model": TrainedValues(network, builder, sequence.num_nodes)}
            return {"mse": evaluate_values(numbers, sequence, split.val, quiet=True)["model"].mse}
