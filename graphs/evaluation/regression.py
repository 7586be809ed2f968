"""Error of forecast numbers of nodes (lower is better).

    MSE = mean over steps of the mean over a step's nodes of (prediction - value)^2

Nodes whose value is unknown (NaN) are left out and counted, steps without a known value are skipped
and counted. A prediction that is not finite where the value is known is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class StepError:
    """Error of one step."""

    mse: float | None
    """None where no value is known."""
    n_unknown: int
    """Nodes without a known value."""


def step_error(predicted: Float[ndarray, " nodes"], value: Float[ndarray, " nodes"]) -> StepError:
    """MSE of one step over the nodes whose value is known.

    Raises:
        ValueError: A prediction for a known value is not finite.

    Example:
        >>> step_error(np.array([1.0, 2.0, 0.0]), np.array([1.0, 4.0, np.nan]))
        StepError(mse=2.0, n_unknown=1)
    """
    known = np.isfinite(value)
    if not np.isfinite(predicted[known]).all():
        raise ValueError(f"{int((~np.isfinite(predicted[known])).sum())} predictions not finite")
    if not known.any():
        return StepError(None, len(value))
    error = predicted[known].astype(np.float64) - value[known]
    return StepError(float(np.mean(error**2)), int((~known).sum()))


def mean_error(errors: Sequence[StepError]) -> float:
    """Mean over the steps with a known value.

    Raises:
        ValueError: There is none.
    """
    known = [error.mse for error in errors if error.mse is not None]
    if not known:
        raise ValueError(f"none of {len(errors)} steps has a known value: check the split")
    return float(np.mean(known))
