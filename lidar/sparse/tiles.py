"""Pairs of a kernel map, cut into tiles of consecutive output rows.

A tile is worked off while its buffers stay in the cache: gather its inputs, one matrix product per
kernel offset, one sum per output row. No scatter is needed, so the result does not depend on the
order in which threads run.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

TILE_ROWS = {"cpu": 4096}
"""Output rows of a tile by device type: 6 pairs per row at 64 channels make 6 MB of fp32."""
TILE_ROWS_ELSEWHERE = 131072
"""Output rows of a tile on accelerators: few launches, bounded memory."""


@dataclass(frozen=True)
class Tile:
    """Pairs that end in the output rows first..last - 1, block after block.

    A block holds the pairs of one kernel offset. If the map has an identity offset, its block comes
    first and is not gathered: input rows are the output rows.
    """

    first: int
    """First output row."""
    last: int
    """Behind the last output row."""
    blocks: tuple[tuple[int, int, int], ...]
    """Kernel offset, first and last pair (excluded) of each non-empty block."""
    identity: int
    """Pairs of the identity block; 0 without one."""
    in_rows: Int32[Tensor, " gathered"]
    """Input row of each pair after the identity block."""
    local_rows: Int32[Tensor, " gathered"]
    """Output row minus `first` of each pair after the identity block."""
    bags: Int32[Tensor, " pairs"]
    """Pairs grouped by output row, offsets ascending within a row but for the identity's."""
    bag_starts: Int32[Tensor, " rows"]
    """First entry of each output row in `bags`."""

    @property
    def num_pairs(self) -> int:
        """Pairs, the identity's included."""
        return len(self.bags)


def cut_tiles(
    in_rows: Int64[Tensor, " pairs"],
    out_rows: Int64[Tensor, " pairs"],
    counts: tuple[int, ...],
    *,
    num_out: int,
    identity: int | None,
) -> tuple[Tile, ...]:
    """Cut pairs into tiles.

    Args:
        in_rows: Input rows, offset after offset.
        out_rows: Output rows, ascending within an offset.
        counts: Pairs of each offset.
        num_out: Number of output rows.
        identity: Offset that pairs every row with itself.

    Returns:
        Tiles that cover all output rows in order.
    """
    device = in_rows.device
    size = TILE_ROWS.get(device.type, TILE_ROWS_ELSEWHERE)
    edges = [*range(0, num_out, size), num_out]
    kept = [offset for offset in range(len(counts)) if offset != identity]
    ins = [part for k, part in enumerate(in_rows.split(counts)) if k != identity]
    outs = [part for k, part in enumerate(out_rows.split(counts)) if k != identity]
    limits = torch.tensor(edges, device=device)
    cuts = limits.new_empty(len(outs), len(edges))
    for row, part in zip(cuts, outs, strict=True):
        torch.searchsorted(part, limits, out=row)
    cut = cuts.tolist()
    bags, starts = _group(outs, cuts, num_out, own=None if identity is None else size)
    bounds = starts.index_select(0, limits).tolist()
    tiles = []
    for number, (first, last) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        parts = [slice(row[number], row[number + 1]) for row in cut]
        own = 0 if identity is None else last - first
        blocks = [] if identity is None else [(identity, 0, own)]
        stop = own
        for offset, part in zip(kept, parts, strict=True):
            if part.stop > part.start:
                blocks.append((offset, stop, stop := stop + part.stop - part.start))
        gathered = _join([rows[part] for rows, part in zip(ins, parts, strict=True)], in_rows)
        local = _join([rows[part] for rows, part in zip(outs, parts, strict=True)], in_rows)
        tiles.append(
            Tile(
                first,
                last,
                tuple(blocks),
                own,
                gathered.int(),
                (local - first).int(),
                bags[bounds[number] : bounds[number + 1]],
                (starts[first:last] - bounds[number]).int(),
            )
        )
    return tuple(tiles)


def _join(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.cat(parts) if parts else like[:0]


def _group(
    outs: list[Int64[Tensor, " _"]],
    cuts: Int64[Tensor, "offsets edges"],
    num_out: int,
    *,
    own: int | None,
) -> tuple[Int32[Tensor, " pairs"], Int64[Tensor, " ends"]]:
    """Places of the pairs in their tile, grouped by output row.

    Args:
        outs: Output rows of each offset but the identity.
        cuts: Where the tiles begin and end in each of them.
        num_out: Number of output rows.
        own: Rows of a tile if there is an identity offset, whose pairs come first, else none.

    Returns:
        The places, and where each row's begin (one more entry than rows).
    """
    device = cuts.device
    sizes = cuts.diff(dim=1)
    rows = _join(outs, cuts.flatten())
    ends = torch.tensor([len(part) for part in outs], device=device, dtype=torch.int64).cumsum(0)
    before = cuts[:, :-1] - cuts[:, -1:] + ends.unsqueeze(1)  # pairs ahead of each block
    in_tile = sizes.cumsum(0) - sizes
    if own is not None:
        first = torch.arange(0, num_out, own, device=device)
        in_tile = in_tile + (num_out - first).clamp(max=own)
    shift = torch.repeat_interleave((in_tile - before).flatten(), sizes.flatten())
    places = (torch.arange(len(rows), device=device) + shift).int()
    taken = torch.bincount(rows, minlength=num_out)
    if own is not None:
        taken = taken + 1
    starts = torch.cat([taken.new_zeros(1), taken.cumsum(0)])
    bags = places.new_empty(len(rows) + (0 if own is None else num_out))
    slots = starts[:-1].clone()  # the next free entry of each row
    if own is not None:
        bags.scatter_(0, slots, (torch.arange(num_out, device=device) % own).int())
        slots += 1
    for part, place in zip(outs, places.split([len(part) for part in outs]), strict=True):
        slot = slots.index_select(0, part)
        bags.scatter_(0, slot, place)
        slots.scatter_(0, part, slot + 1)
    return bags, starts
