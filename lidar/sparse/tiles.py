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
    size = TILE_ROWS.get(in_rows.device.type, TILE_ROWS_ELSEWHERE)
    edges = [*range(0, num_out, size), num_out]
    kept = [offset for offset in range(len(counts)) if offset != identity]
    ins, outs = in_rows.split(counts), out_rows.split(counts)
    limits = torch.tensor(edges, device=out_rows.device)
    cuts = torch.stack([torch.searchsorted(outs[offset], limits) for offset in kept] or [limits])
    cut = cuts.tolist()
    tiles = []
    for number, (first, last) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        parts = [slice(row[number], row[number + 1]) for row in cut][: len(kept)]
        own = 0 if identity is None else last - first
        blocks = [] if identity is None else [(identity, 0, own)]
        start = own
        for offset, part in zip(kept, parts, strict=True):
            stop = start + part.stop - part.start
            if stop > start:
                blocks.append((offset, start, stop))
            start = stop
        gathered = _join([ins[k][part] for k, part in zip(kept, parts, strict=True)], in_rows)
        local = _join([outs[k][part] for k, part in zip(kept, parts, strict=True)], in_rows) - first
        bags, bag_starts = _group(local, blocks, last - first, len(counts))
        tiles.append(
            Tile(first, last, tuple(blocks), own, gathered.int(), local.int(), bags, bag_starts)
        )
    return tuple(tiles)


def _join(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.cat(parts) if parts else like[:0]


def _group(
    local_rows: Int64[Tensor, " gathered"],
    blocks: list[tuple[int, int, int]],
    num_rows: int,
    num_offsets: int,
) -> tuple[Int32[Tensor, " pairs"], Int32[Tensor, " rows"]]:
    """Pairs sorted by output row: a table rows x offsets, read row by row."""
    device = local_rows.device
    num_pairs = blocks[-1][2] if blocks else 0
    pairs = torch.arange(num_pairs, device=device, dtype=torch.int32)
    own = num_pairs - len(local_rows)
    table = torch.full((num_rows, num_offsets), -1, device=device, dtype=torch.int32)
    cells = local_rows * num_offsets
    for offset, start, stop in blocks:
        if start < own:
            table[:, offset] = pairs[start:stop]
        else:
            cells[start - own : stop - own] += offset
    table.view(-1)[cells] = pairs[own:]
    taken = table >= 0
    sizes = taken.sum(1, dtype=torch.int32)
    return table[taken], sizes.cumsum(0, dtype=torch.int32) - sizes
