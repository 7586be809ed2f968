"""Which parts of the model stay in full precision under mixed precision."""

import torch
from jaxtyping import Float
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Switch autocast off: bf16 coordinates are off by up to 0.125 m at 32-54 m."""
    return torch.autocast(like.device.type, enabled=False)


def at_least_float32(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision to float32; float32 and float64 unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
