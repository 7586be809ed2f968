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
    "benchmark": Verb(
        "compare forecasters on every window of a file's test rows, one table",
        "forecasting.config:BenchmarkConfig",
        "forecasting.benchmark:run",
        own_seeds=True,
    ),
    "m4": Verb(
        "compare forecasters on the series of an M4 file: sMAPE, MASE and OWA, one table",
        "forecasting.m4_config:M4Config",
        "forecasting.m4:run",
        own_seeds=True,
    ),
}
