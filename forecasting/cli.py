"""Verbs of `foretell forecast`, by name."""

from foretell.verbs import Verb

VERBS = {
    "prepare": Verb(
        "turn a language model's GGUF file into a folder that loads in seconds, offline",
        "forecasting.s2ip_config:PrepareConfig",
        "forecasting.prepare:run",
        seeded=False,
    ),
    "train": Verb(
        "fit models to a file of series and keep them",
        "forecasting.forecaster_config:TrainConfig",
        "forecasting.train:run",
    ),
    "predict": Verb(
        "forecast the real future of every series, with intervals and pictures",
        "forecasting.forecaster_config:PredictConfig",
        "forecasting.predict:run",
        seeded=False,
    ),
    "explain": Verb(
        "which anchors S2IP puts before every series, and the words they are near",
        "forecasting.forecaster_config:ExplainConfig",
        "forecasting.explain_files:run",
        seeded=False,
    ),
    "backtest": Verb(
        "forecast the last windows of every series as if they were unseen",
        "forecasting.forecaster_config:BacktestConfig",
        "forecasting.backtest:run",
    ),
    "export": Verb(
        "write fitted models for torch.export or ONNX, norms and decomposition inside",
        "forecasting.forecaster_config:ExportConfig",
        "forecasting.export:run",
        seeded=False,
    ),
    "benchmark": Verb(
        "compare forecasters on every window of a file's test rows, one table",
        "forecasting.config:BenchmarkConfig",
        "forecasting.benchmark:run",
        own_seeds=True,
    ),
}
