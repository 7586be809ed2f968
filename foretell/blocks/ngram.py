"""N-gram heads: what followed the last n tokens wherever they stood before (2401.12973).

With ids of the tokens, J_i = {j < i: ids[j-n..j-1] = ids[i-n+1..i]}, N_i the mean of h_j over J_i
and exactly 0 where J_i is empty, y_i = W_0 N_i + W_1 h_i. Gradient flows into h, not into ids.

The loop looks up, then inserts: N_i is read under the n-gram that ends at i, and h_i is written
under the one that ends at i-1. All steps at once are sorted by n-gram and time; nothing is matched
pair by pair.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.ngram_store import NgramCache, NgramTable
from foretell.blocks.protocol import SequenceMixer, Shapes, check_input, mask_steps
from foretell.blocks.segments import segment_ids
from foretell.blocks.stack import Norm, Stack

MAX_TABLE = 65_536
"""Largest number of n-grams that a dense table holds."""
MAX_CODE = 2**62
"""Largest number of n-grams that an integer numbers."""

NgramState = NgramTable | NgramCache
Storage = Literal["auto", "table", "cache"]


class NgramHead(SequenceMixer):
    """y_i = W_0 N_i + W_1 h_i; both maps have a bias.

    The state is a dense table of n-grams or, for large vocabularies, a cache of all h so far, with
    `bounded_state` False: both the state and the cost of a step are time * dim. Caches join by
    `cat_states` only if they hold equally many entries. A `Quantiser` makes ids of real numbers.

    Args:
        dim: Width of h and y.
        num_ids: Ids are 0 .. num_ids - 1.
        n: Length of the n-grams.
        storage: "auto" takes the table up to 65,536 n-grams.

    Raises:
        ValueError: More n-grams than the table holds, or than 2^62.
    """

    def __init__(
        self,
        dim: int,
        num_ids: int,
        *,
        n: int = 1,
        storage: Storage = "auto",
    ) -> None:
        super().__init__()
        check_choice("storage", storage, Storage)
        check_positive(dim=dim)
        if n < 1 or num_ids < 1:
            raise ValueError(f"n and num_ids must be at least 1, got {n} and {num_ids}")
        limit = MAX_TABLE if storage == "table" else MAX_CODE
        if num_ids**n > limit:
            raise ValueError(
                f"{num_ids} ids make {num_ids}^{n} n-grams, more than {limit}: lower n or num_ids"
                + (", or take storage cache" if storage == "table" else "")
            )
        self.bounded_state = storage == "table" or (storage == "auto" and num_ids**n <= MAX_TABLE)
        self.input_dim = self.output_dim = dim
        self.num_ids, self.n = num_ids, n
        self.of_ngram, self.of_token = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """PyTorch's defaults."""
        self.of_ngram.reset_parameters()
        self.of_token.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        storage = "table" if self.bounded_state else "cache"
        return f"dim={self.input_dim}, num_ids={self.num_ids}, n={self.n}, storage={storage!r}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> NgramState:
        """An empty table or cache."""
        place, kind = self._place(device, dtype)
        size = self.num_ids**self.n if self.bounded_state else 0
        values = torch.zeros(batch, size, self.input_dim, device=place, dtype=kind)
        recent = torch.full((batch, self.n), -1, device=place)
        if self.bounded_state:
            return NgramTable(values, values.new_zeros(batch, size), recent)
        return NgramCache(values, recent[:, :0], recent)

    def step(
        self,
        x_t: Float[Tensor, "batch dim"],
        state: NgramState,
        *,
        ids: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], NgramState]:
        """Look up under the n-gram that ends here, then insert under the one before.

        Raises:
            NotImplementedError: Without ids.
        """
        if ids is None:
            raise NotImplementedError("an n-gram head looks up by ids: give step(x_t, state, ids=)")
        self._check_step(x_t, state)
        self._check_ids(ids)
        write = self._code(state.recent)
        recent = torch.cat([state.recent[:, 1:], ids.to(state.recent)[:, None]], dim=1)
        found = state.mean(self._code(recent))
        h = x_t.to(found.dtype)
        return self._answer(found, x_t), state.insert(h[:, None], write[:, None], recent)

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "batch time dim"],
        state: NgramState | None = None,
        *,
        ids: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], NgramState]:
        """All steps; see `SequenceMixer.forward`. A reset empties the state.

        Args:
            x: h.
            state: Where the sequence stands.
            ids: Token ids; at padded steps anything.
            lengths: Valid steps of each row.
            reset: Where rows begin anew.
        """
        check_input(x, self.input_dim)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        ids = ids.long()  # A narrow or unsigned type cannot hold the codes, or -1.
        batch, time = ids.shape
        ids = ids if active is None else ids.masked_fill(~active, 0)
        self._check_ids(ids)
        if not time:
            return x.new_zeros(batch, 0, self.output_dim), state
        x = mask_steps(x, active)
        h = x.to(state[0].dtype)
        read, write, segment = self._codes(ids, state.recent, active, reset)
        found = state.means_before(h, read, write, segment)
        y = mask_steps(self._answer(found, x), active)
        return y, self._end(h, ids, write, segment, state, lengths)

    def _state_shapes(self) -> Shapes:
        """A cache holds any number of entries."""
        return Shapes.of(self.init_state(1, "meta"), free_zeros=True)

    def _answer(self, found: Tensor, x: Tensor) -> Tensor:
        dtype = self.of_ngram.weight.dtype
        y: Tensor = self.of_ngram(found.to(dtype)) + self.of_token(x.to(dtype))
        return y.to(x.dtype)

    def _check_ids(self, ids: Tensor) -> None:
        """Taken for granted in a graph that is being compiled or exported."""
        if torch.compiler.is_compiling() or not ids.numel():
            return
        if bool(((ids < 0) | (ids >= self.num_ids)).any()):
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
        """The state after the last valid step: what its segment wrote."""
        batch, time = ids.shape
        valid = torch.full((batch,), time, device=ids.device) if lengths is None else lengths
        valid = valid.to(ids.device)
        last = segment.gather(1, (valid - 1).clamp(min=0)[:, None])
        last = last.masked_fill((valid == 0)[:, None], 0)
        line = torch.cat([state.recent.to(ids), ids], dim=1)
        of_segment = torch.cat([segment.new_zeros(state.recent.shape), segment], dim=1)
        steps = valid[:, None] + torch.arange(self.n, device=ids.device)
        recent = line.gather(1, steps).masked_fill(of_segment.gather(1, steps) != last, -1)
        return state.insert(h, write.masked_fill(segment != last, -1), recent, last[:, 0] == 0)


class NgramBlock(Stack):
    """Residual n-gram heads one after the other: x + head_n(norm(x)) for n = 1, 2, 3.

    `forward` and `step` take `ids` as `NgramHead` does; the state is the tuple of the heads'.

    Args:
        dim: Width of x and y.
        num_ids: Ids are 0 .. num_ids - 1.
        orders: n of every head.
        storage: As in `NgramHead`, of every head.
        norm: Before every head.
        dropout: Of a head's output.
    """

    def __init__(
        self,
        dim: int,
        num_ids: int,
        *,
        orders: Sequence[int] = (1, 2, 3),
        storage: Storage = "auto",
        norm: Norm = "layer",
        dropout: float = 0.0,
    ) -> None:
        heads = [NgramHead(dim, num_ids, n=n, storage=storage) for n in orders]
        super().__init__(heads, norm=norm, dropout=dropout)


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


def ngram_naive(
    block: NgramHead,
    h: Float[Tensor, "batch time dim"],
    ids: Int[Tensor, "batch time"],
    state: NgramTable,
) -> tuple[Float[Tensor, "batch time dim"], NgramTable]:
    """Loop oracle of `NgramHead` with a table: look up, then insert, row by row."""

    def place(grams: list[int]) -> int:
        number = 0
        for token in grams:
            number = number * block.num_ids + token
        return number if min(grams) >= 0 else -1

    found: list[Tensor] = []
    tables = []
    for row, tokens in zip(h.unbind(0), ids.tolist(), strict=True):
        recent = state.recent[len(found)].tolist()
        sums, counts = (list(field[len(found)].unbind()) for field in (state.sums, state.counts))
        means = []
        for h_i, token in zip(row.unbind(0), tokens, strict=True):
            write, recent = place(recent), [*recent[1:], token]
            read = place(recent)
            mean = sums[read] / counts[read].clamp(min=1)
            means.append(mean if read >= 0 else torch.zeros_like(h_i))
            if write >= 0:
                sums[write], counts[write] = sums[write] + h_i, counts[write] + 1
        found.append(torch.stack(means))
        tables.append((torch.stack(sums), torch.stack(counts), state.recent.new_tensor(recent)))
    y = block.of_ngram(torch.stack(found)) + block.of_token(h)
    return y, NgramTable(*(torch.stack(fields) for fields in zip(*tables, strict=True)))


class Quantiser(nn.Module):
    """Real numbers to ids by the bin edges of a training context; edges are a buffer.

    Args:
        num_ids: Bins.
    """

    edges: Tensor

    def __init__(self, num_ids: int) -> None:
        super().__init__()
        check_positive(num_ids=num_ids)
        self.num_ids = num_ids
        self.register_buffer("edges", torch.full((num_ids - 1,), float("nan")))

    @torch.no_grad()
    def fit(self, context: Float[Tensor, "..."]) -> "Quantiser":
        """Place the edges at equal quantiles of a training context, and only of that."""
        values = context.flatten().double()
        if not len(values) or not bool(values.isfinite().all()):
            raise ValueError("Quantiser.fit needs finite values, got none or NaN or infinity")
        shares = torch.arange(1, self.num_ids, device=values.device, dtype=values.dtype)
        place, values = shares / self.num_ids * (len(values) - 1), values.sort().values
        edges = values[place.floor().long()].lerp(values[place.ceil().long()], place.frac())
        self.edges = edges.to(self.edges.dtype)  # torch.quantile takes 2^24 values at most.
        return self

    def forward(self, x: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Ids 0 .. num_ids - 1; values beyond the context take the outer bins.

        Raises:
            ValueError: `fit` was never called.
        """
        if bool(self.edges.isnan().any()):
            raise ValueError("the quantiser has no edges: call fit(context) first")
        return torch.bucketize(x.detach().to(self.edges), self.edges, right=True)
