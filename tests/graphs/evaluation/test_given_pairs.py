import numpy as np
import pytest
import torch
from toy_links import MatrixScorer, random_positives

from graphs.evaluation import given_pairs
from graphs.evaluation.given_pairs import score_pairs


def test_parts_are_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_pairs, "_CHUNK", 7)
    scorer, pairs = MatrixScorer(np.arange(100).reshape(10, 10)), random_positives(10, 45)
    assert score_pairs(scorer, pairs).tolist() == (10 * pairs[0] + pairs[1]).tolist()


def test_a_missing_score_is_refused() -> None:
    class Short(MatrixScorer):
        def pairs(self, pairs: torch.Tensor) -> torch.Tensor:
            return super().pairs(pairs)[1:]

    with pytest.raises(ValueError, match="4 pairs must have as many scores"):
        score_pairs(Short(np.zeros((5, 5))), random_positives(5, 4))
