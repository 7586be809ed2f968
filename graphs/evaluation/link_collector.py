"""Gathers the link metrics of steps into results, one for each predictor."""

from collections.abc import Iterable, Mapping

from graphs.evaluation.ranks import Ties
from graphs.evaluation.results import LinkProtocol, LinkResult


class LinkCollector:
    """Values of several predictors on the same steps.

    Args:
        names: Predictors.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.n_skipped = 0
        """Steps without a positive."""
        self._values: dict[str, dict[str, list[float]]] = {name: {} for name in names}
        self._steps: list[int] = []
        self._num_pairs = self._num_positives = 0

    def open_step(self, step: int, *, num_pairs: int, num_positives: int) -> None:
        """Begin a step that is scored; `add` follows for every predictor."""
        self._steps.append(step)
        self._num_pairs += num_pairs
        self._num_positives += num_positives

    def add(self, name: str, values: Mapping[str, float]) -> None:
        """Metrics of one predictor on the open step."""
        for metric, value in values.items():
            self._values[name].setdefault(metric, []).append(value)

    def results(
        self,
        protocol: LinkProtocol,
        ties: Ties,
        *,
        seed: int,
        negatives: str = "none",
        filtered: bool = False,
    ) -> dict[str, LinkResult]:
        """One result for each predictor.

        Raises:
            ValueError: No step was scored.
        """
        return {
            name: LinkResult(
                protocol,
                ties,
                tuple(self._steps),
                {metric: tuple(of_steps) for metric, of_steps in values.items()},
                n_skipped=self.n_skipped,
                num_pairs=self._num_pairs,
                num_positives=self._num_positives,
                seed=seed,
                negatives=negatives,
                filtered=filtered,
            )
            for name, values in self._values.items()
        }
