"""Sinusoidal code of a real number."""

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoid(
    u: Float[Tensor, "*shape"], dim: int, *, base: float = 10000.0
) -> Float[Tensor, "*shape dim"]:
    """Code u as sines and cosines: SE(u) = [sin(u w_i), cos(u w_i)], w_i = base^(-2i/dim).

    Vaswani et al. 2017 (1706.03762, section 3.5), with all sines before all cosines.

    Args:
        u: Any real numbers.
        dim: Width of the code, even.
        base: Longest wavelength is 2 pi base^((dim - 2)/dim).

    Returns:
        Codes in the dtype of u.

    Example:
        >>> sinusoid(torch.zeros(1), 4)
        tensor([[0., 0., 1., 1.]])
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and at least 2, got {dim}")
    exponent = torch.arange(0, dim, 2, device=u.device, dtype=u.dtype) / dim
    angle = u[..., None] * base**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
