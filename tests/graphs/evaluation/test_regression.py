import numpy as np
import pytest

from graphs.evaluation.regression import StepError, mean_error, step_error


def test_unknown_nodes_are_left_out_and_counted() -> None:
    error = step_error(np.array([1.0, 2, np.nan]), np.array([0.0, 5, np.nan]))
    assert error == StepError(mse=5.0, n_unknown=1)
    assert step_error(np.ones(2), np.full(2, np.nan)) == StepError(None, 2)


def test_every_step_counts_once() -> None:
    """Nodes of the larger step do not weigh more: (1 + 9)/2 and not (1 + 3 * 9)/4."""
    errors = [step_error(np.array([1.0]), np.zeros(1)), step_error(np.full(3, 3.0), np.zeros(3))]
    assert mean_error([*errors, StepError(None, 4)]) == 5.0


def test_float32_values_are_squared_in_float64() -> None:
    predicted = np.full(3, 4097.0, np.float32)
    assert step_error(predicted, np.zeros(3, np.float32)).mse == 4097.0**2


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 predictions not finite"):
        step_error(np.array([np.inf, np.nan]), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="none of 2 steps"):
        mean_error([StepError(None, 1)] * 2)
