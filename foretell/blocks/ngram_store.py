"""What an n-gram head remembers: the h that followed each n-gram, in a table or one by one.

Both states answer the same three calls; the head does not know which one it has.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.blocks.scan.tree import Elements, associative_scan


class NgramTable(NamedTuple):
    """Dense table, as large as there are n-grams."""

    sums: Float[Tensor, "batch ngrams dim"]
    """Sum of the h written under each n-gram."""
    counts: Float[Tensor, "batch ngrams"]
    """How many."""
    recent: Int[Tensor, "batch n"]
    """The last n ids, the latest last; -1 where there are none yet."""

    def mean(self, read: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """Mean under one n-gram a row; 0 where it is -1 or nothing was written."""
        place = (torch.arange(read.shape[0], device=read.device), read.clamp(min=0))
        return _divide(self.sums[place], self.counts[place], read)

    def means_before(
        self,
        h: Float[Tensor, "batch time dim"],
        read: Int[Tensor, "batch time"],
        write: Int[Tensor, "batch time"],
        segment: Int[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time dim"]:
        """Mean under `read` before each step that then writes h; the table is of segment 0."""
        sums, counts = sums_before(h, read, write, segment, size=self.sums.shape[1])
        carried = (segment == 0) & (read >= 0)
        rows = torch.arange(h.shape[0], device=h.device)[:, None].expand_as(read)
        place = (rows, read.clamp(min=0))
        sums = sums + torch.where(carried[..., None], self.sums[place], torch.zeros_like(h))
        counts = counts + torch.where(carried, self.counts[place], torch.zeros_like(counts))
        return _divide(sums, counts, read)

    def insert(
        self,
        h: Float[Tensor, "batch time dim"],
        write: Int[Tensor, "batch time"],
        recent: Int[Tensor, "batch n"],
        kept: Bool[Tensor, " batch"] | None = None,
    ) -> "NgramTable":
        """The table after writing h; rows that are not kept are emptied before."""
        sums, counts = self.sums, self.counts
        if kept is not None:
            sums = torch.where(kept[:, None, None], sums, torch.zeros_like(sums))
            counts = torch.where(kept[:, None], counts, torch.zeros_like(counts))
        known = write >= 0
        rows = torch.arange(h.shape[0], device=h.device)[:, None].expand_as(write)
        place = (rows, write.clamp(min=0))
        added = torch.where(known[..., None], h, torch.zeros_like(h))
        return NgramTable(
            sums.index_put(place, added, accumulate=True),
            counts.index_put(place, known.to(counts), accumulate=True),
            recent,
        )


class NgramCache(NamedTuple):
    """All that was written, one entry each: grows with time, not with the number of n-grams."""

    values: Float[Tensor, "batch entries dim"]
    """The h, oldest first; rows with fewer entries end in zeros."""
    codes: Int[Tensor, "batch entries"]
    """The n-gram of each; -1 after a row's last entry."""
    recent: Int[Tensor, "batch n"]
    """As in `NgramTable`."""

    def mean(self, read: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """As `NgramTable.mean`, by comparing all entries."""
        match = (self.codes == read[:, None]) & (read >= 0)[:, None]
        sums = self.values.masked_fill(~match[..., None], 0).sum(1)
        return _divide(sums, match.sum(1).to(sums), read)

    def means_before(
        self,
        h: Float[Tensor, "batch time dim"],
        read: Int[Tensor, "batch time"],
        write: Int[Tensor, "batch time"],
        segment: Int[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time dim"]:
        """As `NgramTable.means_before`: the entries are steps before the first, of segment 0."""
        entries = self.codes.shape[1]
        reads = torch.cat([torch.full_like(self.codes, -1), read], 1)
        # Not 0 times what a reset discards at once: NaN there would stay in the running sums.
        writes = torch.cat([self.codes.masked_fill(segment[:, :1] > 0, -1), write], 1)
        segments = torch.cat([torch.zeros_like(self.codes), segment], 1)
        # Numbered anew, or row, segment and n-gram would not fit into one integer.
        codes = torch.cat([read.new_full((1,), -1), reads.flatten(), writes.flatten()])
        distinct, numbers = torch.unique(codes, return_inverse=True)
        reads, writes = (numbers[1:] - 1).view(2, *reads.shape).unbind(0)
        sums, counts = sums_before(
            torch.cat([self.values, h], 1), reads, writes, segments, size=len(distinct) - 1
        )
        return _divide(sums[:, entries:], counts[:, entries:], read)

    def insert(
        self,
        h: Float[Tensor, "batch time dim"],
        write: Int[Tensor, "batch time"],
        recent: Int[Tensor, "batch n"],
        kept: Bool[Tensor, " batch"] | None = None,
    ) -> "NgramCache":
        """As `NgramTable.insert`; entries that count move together to the front of their row."""
        before = self.codes if kept is None else self.codes.masked_fill(~kept[:, None], -1)
        values, codes = torch.cat([self.values, h], 1), torch.cat([before, write], 1)
        known = codes >= 0
        longest = int(known.sum(1).max()) if len(h) else 0
        order = (~known).long().argsort(dim=1, stable=True)[:, :longest]
        codes = codes.gather(1, order)
        values = values.gather(1, order[..., None].expand(-1, -1, h.shape[-1]))
        return NgramCache(values.masked_fill((codes < 0)[..., None], 0), codes, recent)


def sums_before(
    h: Float[Tensor, "batch time dim"],
    read: Int[Tensor, "batch time"],
    write: Int[Tensor, "batch time"],
    segment: Int[Tensor, "batch time"],
    *,
    size: int,
) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch time"]]:
    """Sum and number of the h written under `read` before each step, in its own segment.

    Readings and writings are sorted by n-gram and time, and a sum of the writings that begins anew
    with every n-gram is read. Differences of one running sum would carry NaN, infinity and the
    rounding of large h from an n-gram to the next.

    Args:
        h: What each step writes.
        read: n-gram that each step reads; -1 = none.
        write: n-gram under which it then writes; -1 = none.
        segment: Number of the segment.
        size: n-grams are 0 .. size - 1.
    """
    batch, time, dim = h.shape
    rows = torch.arange(batch, device=h.device)[:, None]
    owner = (rows * (time + 1) + segment) * (size + 1)
    # A step reads before it writes: events of a step stand in this order, the sort is stable.
    keys = torch.stack([owner + read + 1, owner + write + 1], dim=2).flatten()
    order = keys.argsort(stable=True)
    back = order.argsort()
    zero = torch.zeros_like(h)
    values = torch.stack([zero, torch.where((write >= 0)[..., None], h, zero)], 2)
    ones = torch.stack([torch.zeros_like(write), (write >= 0).long()], 2).flatten()[order]
    values = values.reshape(-1, dim)[order]
    number = ones.cumsum(0)
    sorted_keys = keys[order]
    first = torch.ones_like(sorted_keys, dtype=torch.bool)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    start = torch.where(first, torch.arange(len(first), device=h.device), 0).cummax(0).values
    # The events of a row stay together in the sort.
    events = first.view(batch, 2 * time), values.view(batch, 2 * time, dim)
    sums = associative_scan(_add, events)[1].flatten(0, 1)
    counts = number - (number - ones)[start]
    own = slice(0, None, 2)
    return sums[back][own].view(batch, time, dim), counts[back][own].view(batch, time).to(h.dtype)


def _add(left: Elements, right: Elements) -> Elements:
    """Sums that begin anew where the first field is True."""
    anew = right[0]
    return left[0] | anew, right[1] + left[1].masked_fill(anew[..., None], 0)


def _divide(
    sums: Float[Tensor, "*steps dim"],
    counts: Float[Tensor, "*steps"],
    read: Int[Tensor, "*steps"],
) -> Float[Tensor, "*steps dim"]:
    """sums / counts, exactly 0 where nothing was read."""
    found = sums / counts.clamp(min=1)[..., None]
    return torch.where((read >= 0)[..., None], found, torch.zeros_like(found))
