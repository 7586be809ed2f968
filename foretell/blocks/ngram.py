"""N-gram heads: what followed the last n tokens wherever they stood before (2401.12973).

With ids of the tokens, J_i = {j < i: ids[j-n..j-1] = ids[i-n+1..i]}, N_i the mean of h_j over J_i
and exactly 0 where J_i is empty, y_i = W_0 N_i + W_1 h_i. Gradient flows into h, not into ids.

The loop looks up, then inserts: N_i is read under the n-gram that ends at i, and h_i is written
under the one that ends at i-1. All steps at once: readings and writings are sorted by n-gram and
time, and a running sum of the writings is read. Nothing is matched pair by pair.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foretell.blocks.protocol import SequenceMixer, active_steps, check_input, mask_steps
from foretell.blocks.segments import segment_ids

MAX_TABLE = 65_536
"""Largest number of n-grams that a dense table holds."""


class NgramState(NamedTuple):
    """State of an n-gram head."""

    sums: Float[Tensor, "batch ngrams dim"]
    """Sum of the h written under each n-gram."""
    counts: Float[Tensor, "batch ngrams"]
    """How many."""
    recent: Int[Tensor, "batch n"]
    """The last n ids, the latest last; -1 where there are none yet."""


class NgramHead(SequenceMixer):
    """y_i = W_0 N_i + W_1 h_i over a dense table of n-grams; both maps have a bias.

    Larger vocabularies: quantise to fewer ids, see `Quantiser`.

    Args:
        dim: Width of h and y.
        num_ids: Ids are 0 .. num_ids - 1.
        n: Length of the n-grams.

    Raises:
        ValueError: More than 65,536 n-grams.
    """

    def __init__(self, dim: int, num_ids: int, *, n: int = 1) -> None:
        super().__init__()
        if n < 1 or num_ids < 1:
            raise ValueError(f"n and num_ids must be at least 1, got {n} and {num_ids}")
        if num_ids**n > MAX_TABLE:
            raise ValueError(
                f"{num_ids} ids make {num_ids}^{n} n-grams, more than {MAX_TABLE}: lower n or "
                "num_ids"
            )
        self.input_dim = self.output_dim = dim
        self.num_ids, self.n = num_ids, n
        self.of_ngram, self.of_token = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """PyTorch's defaults."""
        self.of_ngram.reset_parameters()
        self.of_token.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"dim={self.input_dim}, num_ids={self.num_ids}, n={self.n}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> NgramState:
        """An empty table."""
        place, kind = self._place(device, dtype)
        size = self.num_ids**self.n
        return NgramState(
            torch.zeros(batch, size, self.input_dim, device=place, dtype=kind),
            torch.zeros(batch, size, device=place, dtype=kind),
            torch.full((batch, self.n), -1, device=place),
        )

    def step(  # type: ignore[override]
        self,
        x_t: Float[Tensor, "batch dim"],
        state: NgramState,
        *,
        ids: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch dim"], NgramState]:
        """Look up under the n-gram that ends here, then insert under the one before."""
        self._check_ids(ids)
        sums, counts, recent = state
        write = self._code(recent)
        recent = torch.cat([recent[:, 1:], ids.to(recent)[:, None]], dim=1)
        read = self._code(recent)
        rows = torch.arange(len(ids), device=sums.device)
        at = (rows, read.clamp(min=0))
        found = sums[at] / counts[at].clamp(min=1)[:, None]
        found = torch.where((read >= 0)[:, None], found, torch.zeros_like(found))
        known = write >= 0
        value = torch.where(known[:, None], x_t.to(sums), torch.zeros_like(found))
        place = (rows, write.clamp(min=0))
        state = NgramState(
            sums.index_put(place, value, accumulate=True),
            counts.index_put(place, known.to(counts), accumulate=True),
            recent,
        )
        return self._answer(found, x_t), state

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "batch time dim"],
        state: NgramState | None = None,
        *,
        ids: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], NgramState]:
        """All steps; see `SequenceMixer.forward`. A reset empties the table.

        Args:
            x: h.
            state: Where the sequence stands.
            ids: Token ids; at padded steps anything.
            lengths: Valid steps of each row.
            reset: Where rows begin anew.
        """
        check_input(x, self.input_dim)
        if state is None:
            state = self.init_state(len(x), x.device)
        batch, time = ids.shape
        active = active_steps(time, lengths=lengths, like=x)
        ids = ids if active is None else ids.masked_fill(~active, 0)
        self._check_ids(ids)
        if not time:
            return x.new_zeros(batch, 0, self.output_dim), state
        h = mask_steps(x, active).to(state.sums.dtype)
        read, write, segment = self._codes(ids, state.recent, active, reset)
        found = _mean_before(h, read, write, segment, state)
        y = mask_steps(self._answer(found, x), active)
        return y, self._end(h, ids, write, segment, state, lengths)

    def _answer(self, found: Tensor, x: Tensor) -> Tensor:
        dtype = self.of_ngram.weight.dtype
        y: Tensor = self.of_ngram(found.to(dtype)) + self.of_token(x.to(dtype))
        return y.to(x.dtype)

    def _check_ids(self, ids: Tensor) -> None:
        if ids.numel() and bool(((ids < 0) | (ids >= self.num_ids)).any()):
            raise ValueError(
                f"ids must lie in 0..{self.num_ids - 1}, got {int(ids.min())}..{int(ids.max())}"
            )

    def _code(self, tokens: Int[Tensor, "*rows n"]) -> Int[Tensor, " *rows"]:
        """Number of an n-gram; -1 where a token is missing."""
        weights = self.num_ids ** torch.arange(self.n - 1, -1, -1, device=tokens.device)
        code = (tokens.clamp(min=0) * weights).sum(-1)
        return code.masked_fill((tokens < 0).any(-1), -1)

    def _codes(
        self, ids: Tensor, recent: Tensor, active: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """n-gram read at each step, n-gram written under, and number of the segment."""
        segment = segment_ids(reset)
        if segment is None:
            segment = torch.zeros_like(ids)
        line = torch.cat([recent.to(ids), ids], dim=1)
        of_segment = torch.cat([segment.new_zeros(recent.shape), segment], dim=1)
        grams, owners = line.unfold(1, self.n, 1), of_segment.unfold(1, self.n, 1)
        grams = grams.masked_fill(owners != owners[..., -1:], -1)
        codes = self._code(grams)  # [batch, time + 1]: those ending at -1, 0, ..., time - 1
        read, write = codes[:, 1:], codes[:, :-1]
        write = write.masked_fill(of_segment[:, self.n - 1 : -1] != segment, -1)
        if active is not None:
            read, write = read.masked_fill(~active, -1), write.masked_fill(~active, -1)
        return read, write, segment

    def _end(
        self,
        h: Tensor,
        ids: Tensor,
        write: Tensor,
        segment: Tensor,
        state: NgramState,
        lengths: Tensor | None,
    ) -> NgramState:
        """The table after the last valid step: what its segment wrote."""
        batch, time = ids.shape
        valid = torch.full((batch,), time, device=ids.device) if lengths is None else lengths
        valid = valid.to(ids.device)
        last = segment.gather(1, (valid - 1).clamp(min=0)[:, None])
        last = last.masked_fill((valid == 0)[:, None], 0)
        kept = last[:, 0] == 0
        counted = (write >= 0) & (segment == last)
        place = (
            torch.arange(batch, device=h.device)[:, None].expand_as(write)[counted],
            write[counted],
        )
        sums = torch.where(kept[:, None, None], state.sums, torch.zeros_like(state.sums))
        counts = torch.where(kept[:, None], state.counts, torch.zeros_like(state.counts))
        line = torch.cat([state.recent.to(ids), ids], dim=1)
        of_segment = torch.cat([segment.new_zeros(state.recent.shape), segment], dim=1)
        steps = valid[:, None] + torch.arange(self.n, device=ids.device)
        recent = line.gather(1, steps).masked_fill(of_segment.gather(1, steps) != last, -1)
        return NgramState(
            sums.index_put(place, h[counted], accumulate=True),
            counts.index_put(place, counts.new_ones(()).expand(len(place[0])), accumulate=True),
            recent,
        )


def _mean_before(
    h: Float[Tensor, "batch time dim"],
    read: Int[Tensor, "batch time"],
    write: Int[Tensor, "batch time"],
    segment: Int[Tensor, "batch time"],
    state: NgramState,
) -> Float[Tensor, "batch time dim"]:
    """Mean of the h written under `read` before each step; 0 where there is none."""
    batch, time, dim = h.shape
    size = state.sums.shape[1]
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
    # float64: the running sum goes through all n-grams, and each takes the difference of two.
    running, number = values.double().cumsum(0), ones.cumsum(0)
    sorted_keys = keys[order]
    first = torch.ones_like(sorted_keys, dtype=torch.bool)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    start = torch.where(first, torch.arange(len(first), device=h.device), 0).cummax(0).values
    sums = running - (running - values)[start]
    counts = number - (number - ones)[start]
    own = slice(0, None, 2)
    sums = sums[back][own].view(batch, time, dim).to(h.dtype)
    counts = counts[back][own].view(batch, time).to(h.dtype)
    carried = (segment == 0) & (read >= 0)
    place = (rows.expand_as(read), read.clamp(min=0))
    sums = sums + torch.where(carried[..., None], state.sums[place], zero)
    counts = counts + torch.where(carried, state.counts[place], torch.zeros_like(counts))
    found = sums / counts.clamp(min=1)[..., None]
    return torch.where((read >= 0)[..., None], found, zero)


def ngram_means_naive(
    h: Float[Tensor, "batch time dim"], ids: Int[Tensor, "batch time"], n: int
) -> Float[Tensor, "batch time dim"]:
    """N_i by comparing all pairs of n-grams, O(time^2): the oracle."""
    out = []
    for row, tokens in zip(h.unbind(0), ids.tolist(), strict=True):
        means = []
        for i in range(len(tokens)):
            now = tokens[i - n + 1 : i + 1] if i >= n - 1 else None
            matches = [j for j in range(n, i) if now is not None and tokens[j - n : j] == now]
            means.append(row[matches].mean(0) if matches else torch.zeros_like(row[0]))
        out.append(torch.stack(means) if means else row)
    return torch.stack(out)


class Quantiser(nn.Module):
    """Real numbers to ids by the bin edges of a training context; edges are a buffer.

    Args:
        num_ids: Bins.
    """

    edges: Tensor

    def __init__(self, num_ids: int) -> None:
        super().__init__()
        self.num_ids = num_ids
        self.register_buffer("edges", torch.full((num_ids - 1,), float("nan")))

    @torch.no_grad()
    def fit(self, context: Float[Tensor, "..."]) -> "Quantiser":
        """Place the edges at equal quantiles of a training context, and only of that."""
        values = context.flatten().double()
        if not len(values) or not bool(values.isfinite().all()):
            raise ValueError("Quantiser.fit needs finite values, got none or NaN or infinity")
        shares = torch.arange(1, self.num_ids, device=values.device, dtype=values.dtype)
        self.edges = torch.quantile(values, shares / self.num_ids).to(self.edges.dtype)
        return self

    def forward(self, x: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Ids 0 .. num_ids - 1; values beyond the context take the outer bins.

        Raises:
            ValueError: `fit` was never called.
        """
        if bool(self.edges.isnan().any()):
            raise ValueError("the quantiser has no edges: call fit(context) first")
        return torch.bucketize(x.detach().to(self.edges), self.edges, right=True)
