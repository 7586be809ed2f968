from dataclasses import replace

import torch
from toy_links import toy_sequence

from graphs.baselines.last_value import LastValue
from graphs.evaluation.values import evaluate_values

NAN = float("nan")


def test_the_last_known_value_of_each_node() -> None:
    """Node 2 was never known: it gets the mean of the others."""
    snapshot = toy_sequence(3, (1,))[0]
    predictor = LastValue(3)
    assert predictor.values(snapshot).tolist() == [0, 0, 0]
    for value in ([1.0, 5.0, NAN], [2.0, NAN, NAN]):
        predictor.update(replace(snapshot, value=torch.tensor(value)))
    assert predictor.values(snapshot).tolist() == [2, 5, 3.5]
    predictor.update(snapshot)
    assert predictor.values(snapshot).tolist() == [2, 5, 3.5]


def test_its_error_is_that_of_differences() -> None:
    """Values 1, 3, 6: squared differences 4 and 9."""
    sequence = toy_sequence(2, (1, 1, 1))
    changed = tuple(
        replace(snapshot, value=torch.full((2,), value))
        for snapshot, value in zip(sequence, (1.0, 3.0, 6.0), strict=True)
    )
    sequence = replace(sequence, snapshots=changed)
    result = evaluate_values({"last_value": LastValue(2)}, sequence, range(1, 3), quiet=True)
    assert result["last_value"].mse == 6.5
