"""Prefix linear attention (JRT-RNN, 2407.05483): read a prefix whole, then go on step by step.

Linear attention with the second-order Taylor features of exp. The tokens of the prefix count twice:
causally like all others, and once more, all together, through an encoder's keys and values that
every later step sees in its initial state.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.protocol import active_steps, check_input, mask_steps
from foretell.blocks.scan.backends import SSD_SCANS, Scan, ScanBackend, choose_scan
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.segments import all_finite, discard_state, run_segments, segment_ids
from foretell.blocks.state_maps import LinearStateMixer

PrefixOutput = Literal["zero", "return"]


class PrefixState(NamedTuple):
    """Sums over all tokens seen so far, those of the prefix twice."""

    s: Float[Tensor, "batch heads features head_dim"]
    """Of phi(k)^T v."""
    z: Float[Tensor, "batch heads features"]
    """Of phi(k)."""


def taylor_features(x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape features"]:
    """phi(x) = [1, x / d^(1/4), vec(x x^T) / (sqrt(2) sqrt(d))], d = dim; 1 + d + d^2 features.

    phi(q).phi(k) = 1 + z + z^2 / 2 with z = q.k / sqrt(d): the Taylor polynomial of exp(z), which
    is never below 1/2.

    Example:
        >>> taylor_features(torch.tensor([1.0, 2, 2, 0])).shape
        torch.Size([21])
    """
    dim = x.shape[-1]
    second = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2 * dim)
    return torch.cat([torch.ones_like(x[..., :1]), x / dim**0.25, second], -1)


class PrefixLinearAttention(LinearStateMixer):
    """Linear attention after a prefix that is read as a whole (2407.05483, eq. 3).

    y_i = phi(q_i) S_i / phi(q_i) Z_i with S_i = sum_{j<=i} phi(k_j)^T v_j + sum_{j<M} phi(ke_j)^T
    ve_j, Z_i likewise without values, and M the length of the prefix. Queries are shared, keys ke
    and values ve of the encoder are projections of their own; no projection but the output's has a
    bias. phi(q).phi(k) >= 1/2, so the denominator needs no epsilon (the released code adds 1e-12);
    in floating point this holds while |q|^2 |k|^2 / 2 feature_dim is far below 1 / rounding error.

    Without a prefix it is causal linear attention. `step` continues after the prefix: from the
    state of `prefill`, or of a `forward` that holds the whole prefix.

    Args:
        input_dim: Width of x.
        num_heads: Heads.
        feature_dim: Width of queries and keys; a state has 1 + d + d^2 rows for it.
        head_dim: Width of a head's values; none = input_dim / num_heads.
        output_dim: Width of y; none = input_dim.
        seed_dim: Width of the vector that `seed_state` takes; none = no such map.
        readout_dim: Width of what `readout` gives; none = no such map.
        scan_fn: Scan with the signature of `scan.naive.ssd`; by default in chunks,
            `functools.partial(ssd, chunk_size=...)` for others.
        scan_backend: "auto" runs `scan_fn`, the others a scan of ours; "tree" holds the states of
            all steps.
    """

    mapped_fields = ("s",)

    def __init__(
        self,
        input_dim: int,
        num_heads: int,
        *,
        feature_dim: int = 16,
        head_dim: int | None = None,
        output_dim: int | None = None,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
        scan_fn: Scan = ssd,
        scan_backend: ScanBackend = "auto",
    ) -> None:
        super().__init__()
        check_positive(
            input_dim=input_dim, feature_dim=feature_dim, head_dim=head_dim, output_dim=output_dim,
            seed_dim=seed_dim, readout_dim=readout_dim,
        )  # fmt: skip
        if num_heads < 1 or (head_dim is None and input_dim % num_heads):
            raise ValueError(
                f"num_heads must divide input_dim {input_dim}, got {num_heads}; or give head_dim"
            )
        self.input_dim, self.output_dim = input_dim, output_dim or input_dim
        self.num_heads, self.head_dim = num_heads, head_dim or input_dim // num_heads
        self.feature_dim = feature_dim
        self.scan_fn = choose_scan(SSD_SCANS, scan_backend, scan_fn)
        features, width = num_heads * feature_dim, num_heads * self.head_dim
        self.query = nn.Linear(input_dim, features, bias=False)
        self.key = nn.Linear(input_dim, features, bias=False)
        self.value = nn.Linear(input_dim, width, bias=False)
        self.encoder_key = nn.Linear(input_dim, features, bias=False)
        self.encoder_value = nn.Linear(input_dim, width, bias=False)
        self.output = nn.Linear(width, self.output_dim)
        self._make_maps(seed_dim, readout_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform matrices, a zero bias."""
        parts = (self.query, self.key, self.value, self.encoder_key, self.encoder_value)
        for layer in (*parts, self.output):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.output.bias)
        self._reset_maps()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, output_dim={self.output_dim}, "
            f"num_heads={self.num_heads}, feature_dim={self.feature_dim}, head_dim={self.head_dim}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> PrefixState:
        """Zeros: nothing seen."""
        place, kind = self._place(device, dtype)
        features = 1 + self.feature_dim + self.feature_dim**2
        z = torch.zeros(batch, self.num_heads, features, device=place, dtype=kind)
        return PrefixState(z[..., None].expand(-1, -1, -1, self.head_dim).clone(), z)

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> PrefixState:
        """S = W h, as if one token with this phi(k)^T v and the key 0 had been seen.

        Z is not learned: phi(q) Z must stay positive, and is 1 here for every query.
        """
        state = super().seed_state(h)
        key = state.z.new_zeros(len(h), self.num_heads, self.feature_dim)
        return PrefixState(state.s, taylor_features(key))

    def prefill(
        self,
        prefix: Float[Tensor, "batch time input_dim"],
        state: PrefixState | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> PrefixState:
        """The state after a prefix: the encoder's sums and the causal ones, without any output.

        Args:
            prefix: All of it; equals `forward` on it with `prefix_len` = time.
            state: What was before; none = `init_state`.
            lengths: Valid steps of each row, for shorter prefixes.
        """
        check_input(prefix, self.input_dim, "prefix")
        state, active = self._begin(prefix, state, lengths=lengths, reset=None)
        x = mask_steps(prefix, active).to(self.key.weight.dtype)
        state = self._absorb(x, active, state, self.encoder_key, self.encoder_value)
        return self._absorb(x, active, state, self.key, self.value)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: PrefixState
    ) -> tuple[Float[Tensor, "batch output_dim"], PrefixState]:
        """One step after the prefix, or without one."""
        self._check_step(x_t, state)
        dtype, x = state.s.dtype, x_t.to(self.key.weight.dtype)
        value = self._split(self.value(x)).to(dtype)
        query, key = self._split(self.query(x)), self._split(self.key(x))
        with torch.autocast(x_t.device.type, enabled=False):
            read, write = taylor_features(query.to(dtype)), taylor_features(key.to(dtype))
            s = state.s + write[..., None] * value[..., None, :]
            z = state.z + write
            o = (read[..., None, :] @ s)[..., 0, :] / (read * z).sum(-1, keepdim=True)
        return self._answer(o.flatten(1)).to(x_t.dtype), PrefixState(s, z)

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: PrefixState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
        prefix_len: int | Int[Tensor, " batch"] | None = None,
        prefix_output: PrefixOutput = "zero",
    ) -> tuple[Float[Tensor, "batch time output_dim"], PrefixState]:
        """All steps; see `SequenceMixer.forward`.

        Outputs inside the prefix see all of it, their own future included. They are zeros unless
        asked for: what is returned there must not be trained to predict the next step.

        Args:
            x: Inputs.
            state: Where the sequence stands; none = `init_state`.
            lengths: Valid steps of each row; a prefix ends with its row.
            reset: Where the rows restart. It drops the prefix with the rest of the state, and may
                stand before its first token but not inside it.
            prefix_len: Length M of the prefix at the start of x, of all rows or of each; this call
                must hold all of it. None = no prefix.
            prefix_output: zero = y is 0 for i < M and the call is causal; return = the outputs of
                the equation, not causal: see `prefix_loss_mask` and `check_prefix_loss`.

        Returns:
            y and the state after the last valid step.

        Raises:
            ValueError: A prefix that is negative or longer than x, a reset inside a prefix, or
                another prefix_output.
        """
        check_input(x, self.input_dim)
        check_choice("prefix_output", prefix_output, PrefixOutput)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        given, x = x.dtype, mask_steps(x, active).to(self.key.weight.dtype)
        if reset is not None:
            reset = reset if active is None else reset & active
            state = discard_state(self, state, reset)
        inside = None
        if prefix_len is not None:
            inside, end = _prefix_steps(x, prefix_len, active)
            reset = _drop_first(reset, inside)
            state = self._absorb(
                x[:, :end], inside[:, :end], state, self.encoder_key, self.encoder_value
            )
        y, end_state = self._causal(x, state, active, reset)
        if reset is not None and not all_finite(y):
            fresh = self.init_state(len(x), x.device, state.s.dtype)
            y, end_state = run_segments(
                self._run_piece, x, state, fresh, lengths=lengths, reset=reset
            )
        y = mask_steps(y.to(given), active)
        if inside is not None and prefix_output == "zero":
            y = mask_steps(y, ~inside)
        return y, end_state

    def _run_piece(
        self, x: Tensor, state: PrefixState, lengths: Tensor
    ) -> tuple[Tensor, PrefixState]:
        return self._causal(x, state, active_steps(x.shape[1], lengths=lengths, like=x), None)

    def _causal(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: PrefixState,
        active: Bool[Tensor, "batch time"] | None,
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], PrefixState]:
        """The causal sums of all steps, in the weights' type; x is 0 at inactive ones."""
        dtype = state.s.dtype
        values = self._split(self.value(x)).to(dtype)
        queries, keys = self._split(self.query(x)), self._split(self.key(x))
        with torch.autocast(x.device.type, enabled=False):
            ones = torch.ones_like(values[..., :1])
            sums, h = self.scan_fn(
                mask_steps(torch.cat([values, ones], -1), active),
                values.new_zeros(values.shape[:3]),  # log a: nothing is forgotten
                taylor_features(keys.to(dtype)),
                taylor_features(queries.to(dtype)),
                torch.cat([state.s, state.z[..., None]], -1).transpose(-1, -2),
                segment=segment_ids(reset),
            )
            below = sums[..., -1:]
            if active is not None:  # 0 / 0 in an empty row would poison its gradient
                below = below.masked_fill(~active[..., None, None], 1)
            o = (sums[..., :-1] / below).flatten(2)
        return self._answer(o), PrefixState(h[..., :-1, :].transpose(-1, -2), h[..., -1, :])

    def _flat(self, state: PrefixState) -> Float[Tensor, "batch numbers"]:
        """Means over the tokens, not sums, which grow with time; 0 before the first."""
        count = state.z[..., :1].clamp(min=1)  # the first feature is 1
        return torch.cat([(state.s / count[..., None]).flatten(1), (state.z / count).flatten(1)], 1)

    def _split(self, x: Float[Tensor, "*steps width"]) -> Float[Tensor, "*steps heads head"]:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads

    def _answer(self, o: Float[Tensor, "*steps width"]) -> Float[Tensor, "*steps output_dim"]:
        projected: Tensor = self.output(o.to(self.output.weight.dtype))
        return projected

    def _absorb(
        self,
        x: Float[Tensor, "batch time input_dim"],
        keep: Bool[Tensor, "batch time"] | None,
        state: PrefixState,
        key: nn.Linear,
        value: nn.Linear,
    ) -> PrefixState:
        """Add the tokens that are kept, through these projections."""
        dtype, x = state.s.dtype, mask_steps(x, keep)
        keys, values = self._split(key(x)).to(dtype), self._split(value(x)).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            write = mask_steps(taylor_features(keys), keep).transpose(1, 2)
            s = state.s + write.transpose(-1, -2) @ values.transpose(1, 2)
            return PrefixState(s, state.z + write.sum(2))


def prefix_attention_naive(
    block: PrefixLinearAttention,
    x: Float[Tensor, "batch time input_dim"],
    state: PrefixState,
    prefix_len: int = 0,
) -> tuple[Float[Tensor, "batch time output_dim"], PrefixState]:
    """Loop oracle of `PrefixLinearAttention`, all outputs returned (2407.05483, eq. 3).

    Args:
        block: Its projections: q, k, v of every step, ke and ve of the encoder.
        x: Inputs; at least one step.
        state: S and Z before the first step.
        prefix_len: M.

    Returns:
        y of every step, and the state after the last one.
    """

    def heads(part: nn.Linear, x_t: Tensor) -> Tensor:
        split: Tensor = part(x_t).view(len(x_t), block.num_heads, -1)
        return split

    S, Z = state.s, state.z
    steps = x.unbind(1)
    for x_t in steps[:prefix_len]:
        ke, ve = taylor_features(heads(block.encoder_key, x_t)), heads(block.encoder_value, x_t)
        S, Z = S + torch.einsum("bhf,bhp->bhfp", ke, ve), Z + ke
    out = []
    for x_t in steps:
        k, v = taylor_features(heads(block.key, x_t)), heads(block.value, x_t)
        S, Z = S + torch.einsum("bhf,bhp->bhfp", k, v), Z + k
        q = taylor_features(heads(block.query, x_t))
        above, below = torch.einsum("bhf,bhfp->bhp", q, S), torch.einsum("bhf,bhf->bh", q, Z)
        out.append(block.output((above / below[..., None]).flatten(1)))
    return torch.stack(out, 1), PrefixState(S, Z)


def _drop_first(
    reset: Bool[Tensor, "batch time"] | None, inside: Bool[Tensor, "batch time"]
) -> Bool[Tensor, "batch time"] | None:
    """Take resets at the first step out: the prefix belongs to what they begin."""
    if reset is None:
        return None
    if bool((reset & inside)[:, 1:].any()):
        raise ValueError(
            "reset must not be True inside a prefix: only at its first token or after its last"
        )
    return torch.cat([torch.zeros_like(reset[:, :1]), reset[:, 1:]], 1)


def _prefix_steps(
    x: Float[Tensor, "batch time input_dim"],
    prefix_len: int | Int[Tensor, " batch"],
    active: Bool[Tensor, "batch time"] | None,
) -> tuple[Bool[Tensor, "batch time"], int]:
    """True at the valid steps of the prefixes, and the first step that is in none.

    A prefix longer than its row's valid steps ends with them.
    """
    sizes = torch.as_tensor(prefix_len, device=x.device).expand(len(x))
    given = sizes.tolist() if isinstance(prefix_len, Tensor) else [prefix_len]
    if any(isinstance(size, bool) or not 0 <= size <= x.shape[1] for size in given):
        wrong = given if isinstance(prefix_len, Tensor) else prefix_len
        raise ValueError(
            f"prefix_len must be whole numbers in [0, {x.shape[1]}], the steps of x, got {wrong}"
        )
    inside = torch.arange(x.shape[1], device=x.device) < sizes[:, None]
    return (inside if active is None else inside & active), max(given, default=0)
