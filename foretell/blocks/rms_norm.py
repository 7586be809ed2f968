"""Root-mean-square normalisation that does not overflow."""

from jaxtyping import Float
from torch import Tensor


def rms_norm(
    y: Float[Tensor, "*batch groups width"], eps: float
) -> Float[Tensor, "*batch groups width"]:
    """y / sqrt(mean(y^2) + eps) over the last axis.

    Divided by its greatest entry first, where that is above 1: squares of 1e20 are no float32.
    """
    size = y.detach().abs().amax(-1, keepdim=True).clamp(min=1)
    scaled = y / size
    return scaled * (scaled.square().mean(-1, keepdim=True) + eps / size.square()).rsqrt()
