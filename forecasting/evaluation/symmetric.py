"""sMAPE of tensors, to train by and to validate: 200 mean |y - f| / (|y| + |f|), in percent.

0/0 = 0, with gradient 0. Lower is better. Nothing known: an error, never a number.
"""

from jaxtyping import Float
from torch import Tensor


def smape_loss(
    forecast: Float[Tensor, "batch horizon channels"],
    target: Float[Tensor, "batch horizon channels"],
) -> Float[Tensor, ""]:
    """Mean over the known values of a batch; NaN marks a target that nobody knows.

    The release divides the same sum by all values, known or not.

    Raises:
        ValueError: No target is known.
    """
    known = ~target.isnan()
    if not bool(known.any()):
        raise ValueError("no target of the batch is known")
    return 200 * symmetric_share(forecast[known], target[known]).mean()


def symmetric_share(
    forecast: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """|y - f| / (|y| + |f|), 0 to 1."""
    size = target.abs() + forecast.abs()
    return (target - forecast).abs() / size.where(size > 0, size.new_ones(()))
