"""Linear recurrence with constant coefficients: a convolution in blocks, a state between them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from foretell.blocks.scan.fft import fft_conv


class BlockSystem(NamedTuple):
    """Powers for a block of steps of h_t = Abar h_{t-1} + Bbar u_t, y_t = C h_t, by channel.

    A complex state counts twice, as real and imaginary part.
    """

    kernel: Float[Tensor, "dim outputs block"]
    """C Abar^l Bbar: from an input to the output l steps later."""
    reach: Float[Tensor, "dim state block"]
    """Abar^l Bbar: from an input to the state l steps later."""
    read: Float[Tensor, "dim outputs state block"]
    """C Abar^(l + 1): from the state before the block to the output of its step l."""
    advance: Callable[[Tensor, Tensor | int], Tensor]
    """(h, steps) -> Abar^steps h; h [batch, dim, state], steps [batch] in [0, block), or the int
    `block` for all rows."""


def time_invariant_scan(
    u: Float[Tensor, "batch time dim"],
    h0: Float[Tensor, "batch dim state"],
    system: BlockSystem,
    *,
    lengths: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, "batch time dim outputs"], Float[Tensor, "batch dim state"]]:
    """Outputs of all steps and the state after each row's last one.

    y_t = (K * u)_t + C Abar^(t+1) h_0 and h_n = Abar^n h_0 + sum_{j<n} Abar^(n-1-j) Bbar u_j with
    K_l = C Abar^l Bbar (LSSL, 2110.13985, with a carried state), in blocks: the convolutions of
    all blocks are one FFT, then the states at their borders follow one another.

    Args:
        u: Inputs, 0 from a row's length on.
        h0: State before the first step.
        system: Powers for one block; its size is a matter of speed only.
        lengths: Valid steps of each row; none = all.

    Returns:
        y, of no meaning at padded steps, and the final state at the true length.
    """
    batch, time, dim = u.shape
    outputs, block = system.kernel.shape[1:]
    if not (batch and time):
        return u.new_zeros(batch, time, dim, outputs), h0
    count = -(-time // block)
    # Time last and channels first: transforms and products then read whole rows of memory.
    blocks = functional.pad(u, (0, 0, 0, count * block - time)).permute(2, 0, 1).contiguous()
    blocks = blocks.unflatten(2, (count, block))  # [dim, batch, count, block]
    inputs = blocks.flatten(1, 2)
    gains = (inputs @ system.reach.flip(-1).mT).unflatten(1, (batch, count)).transpose(0, 1)
    borders = [h0]
    for gain in gains.unbind(2):
        borders.append(system.advance(borders[-1], block) + gain)
    begins = torch.stack(borders, dim=2)  # [batch, dim, count + 1, state]
    before = begins[:, :, :-1].transpose(0, 1).flatten(1, 2)
    carried = before @ system.read.transpose(1, 2).flatten(2)  # [dim, rows, outputs * block]
    y = fft_conv(system.kernel, inputs.permute(1, 2, 0))
    y = y + carried.unflatten(2, (outputs, block)).permute(1, 3, 0, 2)
    y = y.unflatten(0, (batch, count)).flatten(1, 2)[:, :time]
    if lengths is None and time == count * block:
        return y, borders[-1]

    ends = torch.full((batch,), time) if lengths is None else lengths
    whole, rest = ends.to(u.device) // block, ends.to(u.device) % block
    rows = torch.arange(batch, device=u.device)
    back = rest[:, None] - 1 - torch.arange(block, device=u.device)
    turned = blocks[:, rows, whole.clamp(max=count - 1)]
    turned = turned.gather(2, back.clamp(min=0).expand_as(turned)).masked_fill(back < 0, 0)
    gain = (turned @ system.reach.mT).transpose(0, 1)
    return y, system.advance(begins[rows, :, whole], rest) + gain
