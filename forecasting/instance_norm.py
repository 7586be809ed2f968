"""Each window by its own mean and deviation; the forecast gets them back."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5


class WindowScale(NamedTuple):
    """What undoing the norm needs."""

    mean: Float[Tensor, "batch 1 channels"]
    std: Float[Tensor, "batch 1 channels"]


def normalise(
    x: Float[Tensor, "batch time channels"],
) -> tuple[Float[Tensor, "batch time channels"], WindowScale]:
    """(x - mean) / sqrt(population variance + 1e-5), per window and channel.

    A constant window becomes zeros.
    """
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    std = torch.sqrt(centred.square().mean(1, keepdim=True) + EPSILON)
    return centred / std, WindowScale(mean, std)


def restore(
    y: Float[Tensor, "batch horizon channels"], scale: WindowScale
) -> Float[Tensor, "batch horizon channels"]:
    """y std + mean."""
    return y * scale.std + scale.mean
