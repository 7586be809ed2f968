"""Aaren: attention whose query is a parameter, so that one running softmax serves every step.

The learned query of a layer does not depend on x (2405.13956); attention over all steps so far is
then a recurrence with a state of constant size. Layers feed each other like those of a Transformer.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_choice, check_dropout, check_positive
from foretell.blocks.protocol import SequenceMixer, check_input, mask_steps
from foretell.blocks.scan.backends import SOFTMAX_SCANS, Scan, ScanBackend, choose_scan
from foretell.blocks.scan.softmax import softmax_scan
from foretell.blocks.segments import all_finite, discard_state, run_apart, segment_ids

Activation = Literal["relu", "gelu"]


class AarenState(NamedTuple):
    """Running softmax of every head; (m + c, u e^-c, w e^-c) is the same state for every c."""

    m: Float[Tensor, "batch heads"]
    """Largest score so far, -inf before the first; only a scale, a constant for autograd."""
    u: Float[Tensor, "batch heads"]
    """Sum of e^(score - m)."""
    w: Float[Tensor, "batch heads head_dim"]
    """Sum of values weighted by e^(score - m)."""


class Aaren(SequenceMixer):
    """Attention over all steps so far, with one learned query a head (2405.13956).

    o_t = sum_{i<=t} softmax(s_1..s_t)_i v_i with s_i = q.k_i / sqrt(head_dim), q = W_q token + b_q;
    y_t = W_o o_t + b_o. Keys are never formed: q.k_i is one product of x_i with W_k^T q.

    Args:
        input_dim: Width of x.
        num_heads: Heads.
        head_dim: Width of a head; none = input_dim / num_heads.
        output_dim: Width of y; none = input_dim.
        seed_dim: Width of a vector that `seed_state` takes, through a projection of its own; none =
            the vector is projected like x.
        scan_fn: Running softmax with the signature of `scan.naive.softmax_scan`; by default in
            chunks, `functools.partial(softmax_scan, chunk_size=...)` for others.
        scan_backend: "auto" runs `scan_fn`, the others a scan of ours.
    """

    def __init__(
        self,
        input_dim: int,
        num_heads: int,
        *,
        head_dim: int | None = None,
        output_dim: int | None = None,
        seed_dim: int | None = None,
        scan_fn: Scan = softmax_scan,
        scan_backend: ScanBackend = "auto",
    ) -> None:
        super().__init__()
        check_positive(
            input_dim=input_dim, head_dim=head_dim, output_dim=output_dim, seed_dim=seed_dim
        )
        if num_heads < 1 or (head_dim is None and input_dim % num_heads):
            raise ValueError(
                f"num_heads must divide input_dim {input_dim}, got {num_heads}; or give head_dim"
            )
        self.input_dim, self.output_dim = input_dim, output_dim or input_dim
        self.num_heads, self.head_dim = num_heads, head_dim or input_dim // num_heads
        self.scan_fn = choose_scan(SOFTMAX_SCANS, scan_backend, scan_fn)
        width = self.num_heads * self.head_dim
        self.token = nn.Parameter(torch.empty(input_dim))
        self.query = nn.Linear(input_dim, width)
        self.key = nn.Linear(input_dim, width)
        self.value = nn.Linear(input_dim, width)
        self.output = nn.Linear(width, self.output_dim)
        self.seed = None if seed_dim is None else nn.Linear(seed_dim, width)
        self.seed_dim = input_dim if seed_dim is None else seed_dim
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Token from N(0, 1), matrices Glorot uniform, biases 0: scores spread from the start."""
        nn.init.normal_(self.token)
        for layer in (self.query, self.key, self.value, self.output, self.seed):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"input_dim={self.input_dim}, output_dim={self.output_dim}, "
            f"num_heads={self.num_heads}, head_dim={self.head_dim}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> AarenState:
        """Nothing seen: (-inf, 0, 0)."""
        place, kind = self._place(device, dtype)
        zeros = torch.zeros(batch, self.num_heads, device=place, dtype=kind)
        w = zeros.new_zeros(batch, self.num_heads, self.head_dim)
        return AarenState(torch.full_like(zeros, -torch.inf), zeros, w)

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> AarenState:
        """One pseudo-token of score 0 whose value is W h: (0, 1, W h)."""
        project = self.value if self.seed is None else self.seed
        if h.shape[1] != project.in_features:
            raise ValueError(f"seed must have width {project.in_features}, got {h.shape[1]}")
        m = self.init_state(len(h), h.device).u
        w = project(h.to(project.weight.dtype)).to(m.dtype)
        w = w.unflatten(-1, (self.num_heads, self.head_dim))
        return AarenState(m, torch.ones_like(m), w)

    def readout(self, state: AarenState) -> Float[Tensor, "batch width"]:
        """The average w / u of the values so far, all heads; 0 before the first."""
        return _average(state.u, state.w).flatten(1)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: AarenState
    ) -> tuple[Float[Tensor, "batch output_dim"], AarenState]:
        """One step: m' = max(m, s), u and w scaled to m', then the new value added."""
        self._check_step(x_t, state)
        value = self._values(x_t)
        with torch.autocast(x_t.device.type, enabled=False):
            score = self._scores(x_t, state.u.dtype)
            m = torch.maximum(state.m, score).detach()
            old, new = (state.m.detach() - m).exp(), (score - m).exp()
            u = state.u * old + new
            w = state.w * old[..., None] + value.to(u.dtype) * new[..., None]
            o = (w / u[..., None]).flatten(1)
        return self._answer(o, x_t), AarenState(m, u, w)

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: AarenState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], AarenState]:
        """All steps; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        if reset is not None:
            reset = reset if active is None else reset & active
            state = discard_state(self, state, reset)
        x = mask_steps(x, active)
        values = self._values(x)
        with torch.autocast(x.device.type, enabled=False):
            scores = self._scores(x, state.u.dtype)
            if active is not None:
                scores = scores.masked_fill(~active[..., None], -torch.inf)
            o, carry = self.scan_fn(
                scores,
                values.to(scores.dtype),
                (state.m, state.u, state.w),
                segment=segment_ids(reset),
            )
        if reset is not None and not all_finite(o):
            return run_apart(self, x, state, lengths=lengths, reset=reset)
        return mask_steps(self._answer(o.flatten(2), x), active), AarenState(*carry)

    def _values(
        self, x: Float[Tensor, "*steps input_dim"]
    ) -> Float[Tensor, "*steps heads head_dim"]:
        projected = self.value(x.to(self.value.weight.dtype))
        values: Tensor = projected.unflatten(-1, (self.num_heads, self.head_dim))
        return values

    def _answer(
        self, o: Float[Tensor, "*steps width"], x: Float[Tensor, "*steps input_dim"]
    ) -> Float[Tensor, "*steps output_dim"]:
        projected: Tensor = self.output(o.to(self.output.weight.dtype))
        return projected.to(x.dtype)

    def _scores(
        self, x: Float[Tensor, "*steps input_dim"], dtype: torch.dtype
    ) -> Float[Tensor, "*steps heads"]:
        """q.k / sqrt(head_dim) = x.(W_k^T q) + b_k.q, q scaled."""
        heads = (self.num_heads, self.head_dim)
        weight, bias = self.query.weight.to(dtype), self.query.bias.to(dtype)
        query = functional.linear(self.token.to(dtype), weight, bias).view(heads)
        query = query * self.head_dim**-0.5
        keys = self.key.weight.to(dtype).view(*heads, -1)
        directions = (query[..., None] * keys).sum(1)
        offsets = (query * self.key.bias.to(dtype).view(heads)).sum(1)
        return functional.linear(x.to(dtype), directions, offsets)


class AarenBlock(SequenceMixer):
    """Transformer block with Aaren as its attention: one vector more than a Transformer's.

    Pre-norm: h = x + attention(norm(x)), y = h + feedforward(norm(h)). Post-norm:
    h = norm(x + attention(x)), y = norm(h + feedforward(h)).

    Args:
        input_dim: Width of x and y.
        num_heads: Heads, a divisor of input_dim.
        feedforward_dim: Hidden width; none = 4 input_dim.
        pre_norm: Norms before the two parts, or after their sums.
        activation: Of the feed-forward part.
        dropout: Of both parts' outputs and of the hidden layer.
        seed_dim: As in `Aaren`.
        scan_fn: As in `Aaren`.
        scan_backend: As in `Aaren`.
    """

    def __init__(
        self,
        input_dim: int,
        num_heads: int,
        *,
        feedforward_dim: int | None = None,
        pre_norm: bool = True,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        seed_dim: int | None = None,
        scan_fn: Scan = softmax_scan,
        scan_backend: ScanBackend = "auto",
    ) -> None:
        super().__init__()
        check_choice("activation", activation, Activation)
        check_positive(input_dim=input_dim, feedforward_dim=feedforward_dim)
        check_dropout(dropout=dropout)
        self.input_dim = self.output_dim = input_dim
        self.feedforward_dim = feedforward_dim or 4 * input_dim
        self.pre_norm, self.activation, self.dropout = pre_norm, activation, dropout
        self.attention = Aaren(
            input_dim, num_heads, seed_dim=seed_dim, scan_fn=scan_fn, scan_backend=scan_backend
        )
        self.seed_dim = self.attention.seed_dim
        self.expand = nn.Linear(input_dim, self.feedforward_dim)
        self.contract = nn.Linear(self.feedforward_dim, input_dim)
        self.attention_norm = nn.LayerNorm(input_dim)
        self.feedforward_norm = nn.LayerNorm(input_dim)

    def reset_parameters(self) -> None:
        """Of all parts."""
        self.attention.reset_parameters()
        for layer in (self.expand, self.contract, self.attention_norm, self.feedforward_norm):
            layer.reset_parameters()

    def extra_repr(self) -> str:
        """Options for `print(module)`."""
        return f"pre_norm={self.pre_norm}, activation={self.activation}, dropout={self.dropout:g}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> AarenState:
        """Of the attention."""
        return self.attention.init_state(batch, device, dtype)

    def seed_state(self, h: Float[Tensor, "batch seed_dim"]) -> AarenState:
        """Of the attention; h is not normalised."""
        return self.attention.seed_state(h)

    def readout(self, state: AarenState) -> Float[Tensor, "batch width"]:
        """Of the attention."""
        return self.attention.readout(state)

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: AarenState
    ) -> tuple[Float[Tensor, "batch input_dim"], AarenState]:
        """One step."""
        self._check_step(x_t, state)
        h = x_t.to(self.expand.weight.dtype)
        attended, state = self.attention.step(self._enter(h), state)
        return self._finish(h, attended).to(x_t.dtype), state

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: AarenState | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time input_dim"], AarenState]:
        """All steps; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        h = mask_steps(x, active).to(self.expand.weight.dtype)
        attended, state = self.attention(self._enter(h), state, lengths=lengths, reset=reset)
        return mask_steps(self._finish(h, attended).to(x.dtype), active), state

    def _enter(self, x: Tensor) -> Tensor:
        # Autocast's norm gives float32 whatever x is; the protocol wants y in the type of x.
        return self.attention_norm(x).to(x.dtype) if self.pre_norm else x

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        h = x + self._drop(attended)
        if self.pre_norm:
            return (h + self._feedforward(self.feedforward_norm(h))).to(x.dtype)
        h = self.attention_norm(h)
        normed: Tensor = self.feedforward_norm(h + self._feedforward(h))
        return normed.to(x.dtype)

    def _feedforward(self, h: Tensor) -> Tensor:
        act = functional.relu if self.activation == "relu" else functional.gelu
        return self._drop(self.contract(self._drop(act(self.expand(h)))))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def aaren_naive(
    block: Aaren, x: Float[Tensor, "batch time input_dim"], state: AarenState
) -> tuple[Float[Tensor, "batch time output_dim"], AarenState]:
    """Loop oracle of `Aaren`: the recurrence of 2405.13956 from explicit queries and keys.

    Args:
        block: Its parameters: q of the token, k and v of every step.
        x: Inputs; at least one step.
        state: (m, u, w).

    Returns:
        y of every step, and the state after the last one.
    """
    heads = (block.num_heads, block.head_dim)
    q = block.query(block.token).view(heads)
    m, u, w = state.m.detach(), state.u, state.w
    out = []
    for x_t in x.unbind(1):
        k, v = block.key(x_t).unflatten(-1, heads), block.value(x_t).unflatten(-1, heads)
        s = (q * k).sum(-1) / block.head_dim**0.5
        top = torch.maximum(m, s).detach()
        u = u * torch.exp(m - top) + torch.exp(s - top)
        w = w * torch.exp(m - top)[..., None] + v * torch.exp(s - top)[..., None]
        m = top
        out.append(block.output((w / u[..., None]).flatten(1)))
    return torch.stack(out, 1), AarenState(m, u, w)


def aaren_block_naive(
    block: AarenBlock, x: Float[Tensor, "batch time input_dim"], state: AarenState
) -> tuple[Float[Tensor, "batch time input_dim"], AarenState]:
    """Oracle of `AarenBlock` in evaluation, around `aaren_naive`."""

    def norm(layer: nn.LayerNorm, z: Tensor) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return centred / scale * layer.weight + layer.bias

    def feedforward(z: Tensor) -> Tensor:
        inner: Tensor = block.expand(z)
        phi = (1 + torch.erf(inner / 2**0.5)) / 2
        inner = inner.clamp(min=0) if block.activation == "relu" else inner * phi
        contracted: Tensor = block.contract(inner)
        return contracted

    if block.pre_norm:
        attended, state = aaren_naive(block.attention, norm(block.attention_norm, x), state)
        h = x + attended
        return h + feedforward(norm(block.feedforward_norm, h)), state
    attended, state = aaren_naive(block.attention, x, state)
    h = norm(block.attention_norm, x + attended)
    return norm(block.feedforward_norm, h + feedforward(h)), state


def _average(
    u: Float[Tensor, "batch heads"], w: Float[Tensor, "batch heads head_dim"]
) -> Float[Tensor, "batch heads head_dim"]:
    return w / torch.where(u > 0, u, 1.0)[..., None]
