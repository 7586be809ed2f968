"""Verbs of `foretell forecast`, by name."""

from foretell.verbs import Verb

VERBS = {
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
