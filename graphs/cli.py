"""Verbs of `foretell graphs`, by name."""

from foretell.verbs import Verb

VERBS = {
    "train": Verb(
        "train EvolveGCN on a changing graph and score it beside its baselines",
        "graphs.config:TrainConfig",
        "graphs.train:run",
    ),
    "evaluate": Verb(
        "score a saved model on the validation and test steps of a graph",
        "graphs.config:EvaluateConfig",
        "graphs.evaluate:run",
        "graphs.saved_model:evaluate_defaults",
    ),
    "predict": Verb(
        "forecast the step after the last one: links, classes, numbers",
        "graphs.config:PredictConfig",
        "graphs.predict:run",
        "graphs.saved_model:predict_defaults",
        seeded=False,
    ),
}
