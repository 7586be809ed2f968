"""Overlapping pieces of a window, the last value repeated on the right."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def num_patches(context: int, patch_length: int, stride: int) -> int:
    """floor((L - P) / S) + 2.

    Raises:
        ValueError: A patch longer than the context, or a size below 1.
    """
    if patch_length < 1 or stride < 1:
        raise ValueError(
            f"patch_length and stride must be at least 1, got {patch_length} and {stride}"
        )
    if patch_length > context:
        raise ValueError(f"patch_length {patch_length} is longer than the context, {context}")
    return (context - patch_length) // stride + 2


def cut_patches(
    x: Float[Tensor, "*series time"], patch_length: int, stride: int
) -> Float[Tensor, "*series patches patch"]:
    """Windows of `patch_length`, `stride` apart, after `stride` repeats of the last value."""
    shape = x.shape
    padded = functional.pad(x.reshape(-1, 1, shape[-1]), (0, stride), mode="replicate")
    patches: Tensor = padded[:, 0].unfold(-1, patch_length, stride)
    return patches.reshape(*shape[:-1], *patches.shape[1:])
