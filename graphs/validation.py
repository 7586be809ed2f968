"""What is measured between epochs: validation steps alone, parameters frozen, from step 0 on."""

from graphs.evaluation.fixed import evaluate_sampled
from graphs.graph_data import GraphData
from graphs.model_config import Task
from graphs.network import GraphNetwork
from graphs.walk import TrainedLinks


def validate(
    network: GraphNetwork,
    data: GraphData,
    steps: range,
    *,
    task: Task,
    seed: int,
    negatives_share: float,
) -> dict[str, float]:
    """Metrics over the validation steps: `map`, `mrr` of links; of classes and numbers theirs.

    Links: all positives and a seeded share of the other pairs, the same in every epoch.
    """
    if task == "link":
        predictor = TrainedLinks(network, data.builder, data.sequence.num_nodes)
        results = evaluate_sampled(
            {"model": predictor}, data.sequence, steps, seed=seed, share=negatives_share
        )
        return results["model"].means
    raise NotImplementedError
