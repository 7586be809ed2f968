"""Softmax regression on standardised features with an L2 penalty; float64, no intercept penalty.

mean of -log softmax(z W + b)[label] + l2/2 ||W||^2       z = (features - mean) / scale
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import log_softmax


@dataclass(frozen=True)
class LogisticModel:
    """A fitted regression."""

    weight: Float[ndarray, "features classes"]
    bias: Float[ndarray, " classes"]
    mean: Float[ndarray, " features"]
    scale: Float[ndarray, " features"]

    def logits(self, features: Float[ndarray, "items features"]) -> Float[ndarray, "items classes"]:
        """Logits of the classes, float64."""
        return np.asarray((features - self.mean) / self.scale @ self.weight + self.bias)


def fit_logistic(
    features: Float[ndarray, "items features"],
    labels: Int[ndarray, " items"],
    *,
    num_classes: int,
    l2: float,
    max_iterations: int = 1000,
) -> LogisticModel:
    """Fit to items that are all labelled.

    Args:
        features: Finite numbers.
        labels: Classes in [0, num_classes).
        num_classes: Classes, of which some may not occur.
        l2: Weight of the penalty, positive, so that the optimum is one point.
        max_iterations: Of L-BFGS.

    Raises:
        ValueError: No items, features that are not finite, `l2` not positive, or no optimum found.
    """
    if not len(labels):
        raise ValueError("no labelled item to fit to: check the training steps")
    if l2 <= 0:
        raise ValueError(f"l2 must be positive, got {l2}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    features = features.astype(np.float64)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1.0
    standard = (features - mean) / scale
    shape = (features.shape[1] + 1, num_classes)
    true = np.eye(num_classes)[labels]

    def loss(flat: ndarray) -> tuple[float, ndarray]:
        weight, bias = flat.reshape(shape)[:-1], flat.reshape(shape)[-1]
        log_p = log_softmax(standard @ weight + bias, axis=1)
        residual = (np.exp(log_p) - true) / len(labels)
        gradient = np.vstack([standard.T @ residual + l2 * weight, residual.sum(axis=0)])
        value = -log_p[np.arange(len(labels)), labels].mean() + l2 / 2 * (weight**2).sum()
        return float(value), gradient.reshape(-1)

    fitted = minimize(
        loss,
        np.zeros(shape).reshape(-1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "ftol": 1e-12, "gtol": 1e-7},
    )
    if not fitted.success:
        raise ValueError(f"logistic regression did not converge: {fitted.message}; raise l2")
    flat = fitted.x.reshape(shape)
    return LogisticModel(flat[:-1], flat[-1], mean, scale)


def mean_cross_entropy(
    model: LogisticModel,
    features: Float[ndarray, "items features"],
    labels: Int[ndarray, " items"],
) -> float:
    """Mean of -log p(label); lower is better."""
    log_p = log_softmax(model.logits(features), axis=1)
    return float(-log_p[np.arange(len(labels)), labels].mean())
