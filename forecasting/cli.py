"""Verbs of `foretell forecast`, by name."""

from foretell.verbs import Verb

VERBS = {
    "benchmark": Verb(
        "compare forecasters on every window of a file's test rows, one table",
        "forecasting.config:BenchmarkConfig",
        "forecasting.benchmark:run",
        own_seeds=True,
    ),
}
