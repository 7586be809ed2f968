"""A bounded matrix state: its norm is cut back every few steps (2410.07145v1)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foretell.blocks.segments import run_segments

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x, dt, B, C, h) -> (y, h): linear in x and h, a step of zeros changes nothing."""


def norm_scale(
    h: Float[Tensor, "batch heads width state"], max_norm: float
) -> Float[Tensor, "batch heads"]:
    """Factor that brings the Frobenius norm of each head's state down to `max_norm`, at most 1."""
    norm: Tensor = torch.linalg.vector_norm(h, dim=(-2, -1))
    # At the bound itself the quotient would bend the gradient: clamp lets it through there.
    return torch.where(norm > max_norm, max_norm / norm.clamp(min=max_norm), 1.0)


def normalised_scan(
    scan: Scan,
    x: Float[Tensor, "batch time heads width"],
    dt: Float[Tensor, "batch time heads"],
    B: Float[Tensor, "batch time groups state"],
    C: Float[Tensor, "batch time groups state"],
    h0: Float[Tensor, "batch heads width state"],
    position: Int[Tensor, " batch"],
    *,
    max_norm: float,
    every: int,
    lengths: Int[Tensor, " batch"] | None = None,
    reset: Bool[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads width state"]]:
    """Scan whose state is normalised after every k-th step of a row.

    h <- h p / ||h|| if ||h|| > p, per head, after the steps k - 1, 2k - 1, ... since the row began;
    y of such a step reads the normalised state, so k = 1 is the rule of 2410.07145v1. The steps
    between run at once. Rows are shifted by `position` mod k identity steps, so that all of them
    are cut at the same places; at a reset they are cut and run as rows of their own.

    Args:
        scan: Runs the steps between two normalisations.
        x: Inputs, dt included.
        dt: Time steps; 0 keeps the state.
        B: Input directions.
        C: Output directions.
        h0: State before the first step.
        position: Steps since each row began.
        max_norm: p.
        every: k.
        lengths: Steps of each row that count; y is right up to them.
        reset: Where the rows begin anew.

    Returns:
        y of every step, and the state after the last one.
    """
    wholes = (x, dt, B, C)
    shapes = [whole.shape[2:] for whole in wholes]
    widths = [shape.numel() for shape in shapes]

    def run(joined: Tensor, start: tuple[Tensor, Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
        h, begun = start
        time = joined.shape[1]
        if time == 0:
            return joined.new_zeros(len(joined), 0, *shapes[0]), h
        offset = begun % every
        steps = torch.arange(-(-(time + every - 1) // every) * every, device=x.device)
        source = steps - offset[:, None]
        inside = (source >= 0) & (source < sizes[:, None])
        aligned = _take(joined, source.clamp(0, time - 1)).masked_fill(~inside[..., None], 0)
        out = []
        for number, piece in enumerate(aligned.split(every, 1), start=1):
            parts = zip(piece.split(widths, 2), shapes, strict=True)
            x_in, dt_in, B_in, C_in = (part.unflatten(2, shape) for part, shape in parts)
            y, h = scan(x_in, dt_in, B_in, C_in, h)
            due = (offset + sizes >= number * every)[:, None]
            scale = torch.where(due, norm_scale(h, max_norm), 1.0)
            h = h * scale[..., None, None]
            last = functional.pad(scale[:, None], (0, 0, every - 1, 0), value=1.0)
            out.append(y * last[..., None])
        return _take(torch.cat(out, 1), steps[:time] + offset[:, None]), h

    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
    features = torch.cat([whole.flatten(2) for whole in wholes], 2)
    if reset is None:
        return run(features, (h0, position), lengths)
    fresh = (torch.zeros_like(h0), torch.zeros_like(position))
    y, h = run_segments(run, features, (h0, position), fresh, lengths=lengths, reset=reset)
    return y, h


def end_position(
    position: Int[Tensor, " batch"],
    time: int,
    *,
    lengths: Int[Tensor, " batch"] | None = None,
    reset: Bool[Tensor, "batch time"] | None = None,
) -> Int[Tensor, " batch"]:
    """Steps since each row began, `time` steps later; resets lie inside the lengths."""
    steps = torch.full_like(position, time) if lengths is None else lengths.to(position)
    if reset is None:
        return position + steps
    number = torch.arange(time, device=reset.device)
    last = torch.where(reset, number, -1).amax(1)
    return torch.where(last < 0, position + steps, steps - last)


def _take(
    values: Float[Tensor, "batch time *dims"], steps: Int[Tensor, "batch taken"]
) -> Float[Tensor, "batch taken *dims"]:
    """Other steps for each row."""
    index = steps.view(*steps.shape, *[1] * (values.dim() - 2))
    return values.gather(1, index.expand(*steps.shape, *values.shape[2:]))
