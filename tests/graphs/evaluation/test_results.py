from typing import Any

import pytest

from graphs.evaluation.results import LinkResult


def result(**changes: Any) -> LinkResult:
    given = {
        "protocol": "fixed_online", "ties": "mean", "steps": (3, 5),
        "values": {"ap": (0.5, 0.25), "mrr": (1.0, 0.5)},
        "n_skipped": 1, "num_pairs": 18, "num_positives": 4, "seed": 7,
    }  # fmt: skip
    return LinkResult(**(given | changes))


def test_flat_names_hold_protocol_and_predictor() -> None:
    assert result().flat("test", "evolvegcn_o") == {
        "test/fixed_online/evolvegcn_o/map": 0.375,
        "test/fixed_online/evolvegcn_o/mrr": 0.75,
        "test/fixed_online/evolvegcn_o/n_steps": 2.0,
        "test/fixed_online/evolvegcn_o/n_skipped": 1.0,
    }


def test_no_step_and_no_number_are_refused() -> None:
    with pytest.raises(ValueError, match="none of the 1 steps has a positive"):
        result(steps=(), values={})
    with pytest.raises(ValueError, match="mrr must be one finite number a step"):
        result(values={"mrr": (1.0, float("nan"))})
    with pytest.raises(ValueError, match="ap must be one finite number a step"):
        result(values={"ap": (1.0,)})
