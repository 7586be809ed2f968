"""The neural memory of Titans as an operation: an MLP that gradient descent trains while it reads.

Notation of 2501.00663, section 3: the memory M is an MLP without biases, W_1 .. W_L with SiLU
between the layers (the paper names no activation); S is its momentum. Gates alpha, eta, theta.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from foretell.blocks.protocol import where_rows

Layers = tuple[Float[Tensor, "batch _ _"], ...]


class MemoryCarry(NamedTuple):
    """Where the memory of every row stands."""

    weights: Layers
    """M: one matrix [batch, out, in] a layer."""
    momentum: Layers
    """S, of the same shapes."""
    chunk_start: Layers
    """M before the first token of the current chunk, where gradients are taken."""
    position: Int[Tensor, " batch"]
    """Tokens so far; the next one is the first of its chunk if chunk_size divides it."""


class _Chunk(NamedTuple):
    """Decays of one chunk; t and j count its tokens."""

    keep: Float[Tensor, "batch tokens"]
    """f_t: share of M that is left."""
    carried: Float[Tensor, "batch tokens"]
    """(F e)_t: share of S that has come into M."""
    mix: Float[Tensor, "batch tokens tokens"]
    """T[t, j]: share of the gradient of token j in M_t."""
    momentum_keep: Float[Tensor, " batch"]
    """e at the last token: share of S that is left in S."""
    momentum_mix: Float[Tensor, "batch tokens"]
    """Share of the gradient of token j in S after the last token."""


def titans_memory(
    q: Float[Tensor, "batch time dim"],
    k: Float[Tensor, "batch time dim"],
    v: Float[Tensor, "batch time dim"],
    gates: Float[Tensor, "batch time 3"],
    carry: MemoryCarry,
    *,
    chunk_size: int,
    lengths: Int[Tensor, " batch"] | None = None,
    aligned: bool = False,
) -> tuple[Float[Tensor, "batch time dim"], MemoryCarry]:
    """Write (k_t, v_t) into the memory, then read it at q_t: 2501.00663, eqs 10-15, by chunks.

    S_t = eta_t S_{t-1} - theta_t grad ||M'(k_t) - v_t||^2, M_t = (1 - alpha_t) M_{t-1} + S_t,
    y_t = M_t(q_t), with M' the memory before the first token of the chunk of t. The gradient of a
    token is delta_j inp_j^T in each layer, so that with decays F of M and E of S inside the chunk
    W_t z = f_t W z + (F e)_t S z + sum_j T[t, j] delta_j (inp_j . z), T = F E diag(-theta).
    Nothing of size [batch, time, abs(M)] is formed, and the inner gradient is written out.

    A token outside its sequence neither decays M and S nor adds S to M. (No value of the gates says
    so: with eta = 1 and alpha = theta = 0 the rule still adds S. The columns of F do.)

    Args:
        q: Where to read.
        k: Where to write.
        v: What to write.
        gates: Logits of alpha, eta and theta.
        carry: Where the rows stand.
        chunk_size: Part of the model; 1 is the sequential rule. Chunks begin at position 0.
        lengths: Tokens of each row that count; none = all.
        aligned: The caller knows that all positions are multiples of chunk_size: one chunk less.

    Returns:
        y of every token (of no meaning beyond the length), and where the rows stand then.
    """
    batch, time, _ = q.shape
    lead = carry.position % chunk_size
    shifted = not aligned and chunk_size > 1
    num_chunks = -(-(time + (chunk_size - 1 if shifted else 0)) // chunk_size)
    steps = torch.arange(num_chunks * chunk_size, device=q.device) - lead[:, None]
    sizes = torch.full_like(lead, time) if lengths is None else lengths.to(lead)
    active = (steps >= 0) & (steps < sizes[:, None])
    tokens = torch.cat([q, k, v, gates], -1)
    if shifted:
        source = steps.clamp(0, time - 1)[..., None].expand(-1, -1, tokens.shape[-1])
        tokens = tokens.gather(1, source)
    else:
        tokens = functional.pad(tokens, (0, 0, 0, num_chunks * chunk_size - time))
    dims = [q.shape[-1]] * 3
    parts = [part.unflatten(1, (-1, chunk_size)) for part in tokens.split([*dims, 3], -1)]
    chunks = _chunks(parts[3], active.unflatten(1, (-1, chunk_size)))

    weights, momentum = carry.weights, carry.momentum
    begin = start = chunk_start(carry, chunk_size) if shifted else weights
    if lengths is not None:  # A row without tokens keeps its state as it is.
        start = where_rows(sizes > 0, begin, carry.chunk_start)
    outputs = []
    chunk_inputs = zip(*(part.unbind(1) for part in parts[:3]), chunks, strict=True)
    for place, (q_c, k_c, v_c, chunk) in enumerate(chunk_inputs):
        if place > 0:
            begin = weights
        written, deltas = inner_gradient(begin, k_c, v_c)
        outputs.append(_read(weights, momentum, written, deltas, q_c, chunk))
        weights, momentum = _write(weights, momentum, written, deltas, chunk)
        border = (place + 1) * chunk_size
        if chunk_size == 1 or (lengths is None and border <= time):
            start = weights
        else:
            start = where_rows(lead + sizes >= border, weights, start)
    y = torch.cat(outputs, 1)
    if shifted:
        y = y.gather(1, (lead[:, None] + steps.new_tensor(range(time)))[..., None].expand_as(q))
    return y[:, :time], MemoryCarry(weights, momentum, start, carry.position + sizes)


def titans_memory_step(
    q: Float[Tensor, "batch dim"],
    k: Float[Tensor, "batch dim"],
    v: Float[Tensor, "batch dim"],
    gates: Float[Tensor, "batch 3"],
    carry: MemoryCarry,
    *,
    chunk_size: int,
) -> tuple[Float[Tensor, "batch dim"], MemoryCarry]:
    """One token of `titans_memory`, by the update rule itself."""
    alpha, eta, theta = gates.sigmoid()[..., None, None].unbind(1)
    begin = chunk_start(carry, chunk_size)
    written, deltas = inner_gradient(begin, k[:, None], v[:, None])
    momentum = tuple(
        eta * s - theta * (delta.mT @ inp)
        for s, delta, inp in zip(carry.momentum, deltas, written, strict=True)
    )
    weights = tuple((1 - alpha) * w + s for w, s in zip(carry.weights, momentum, strict=True))
    position = carry.position + 1
    after = MemoryCarry(weights, momentum, begin, position)
    after = after._replace(chunk_start=chunk_start(after, chunk_size))
    return apply_memory(weights, q[:, None])[:, 0], after


def chunk_start(carry: MemoryCarry, chunk_size: int) -> Layers:
    """M at which the next token's gradient is taken: the present one where a chunk begins."""
    if chunk_size == 1:
        return carry.weights
    return where_rows(carry.position % chunk_size == 0, carry.weights, carry.chunk_start)


def apply_memory(
    weights: Layers, z: Float[Tensor, "batch tokens dim"]
) -> Float[Tensor, "batch tokens dim"]:
    """M(z) = W_L silu(W_{L-1} .. silu(W_1 z))."""
    for place, w in enumerate(weights):
        z = (functional.silu(z) if place else z) @ w.mT
    return z


def inner_gradient(
    weights: Layers, k: Float[Tensor, "batch tokens dim"], v: Float[Tensor, "batch tokens dim"]
) -> tuple[list[Float[Tensor, "batch tokens _"]], list[Float[Tensor, "batch tokens _"]]]:
    """Gradient of ||M(k) - v||^2 (a sum over dim) for every token apart, as outer products.

    Args:
        weights: Of M.
        k: Input of M.
        v: What M should answer.

    Returns:
        inp and delta of each layer: the gradient of its weights is delta inp^T.
    """
    inputs, before, z = [], [], k
    for place, w in enumerate(weights):
        z = functional.silu(z) if place else z
        inputs.append(z)
        z = z @ w.mT
        before.append(z)
    deltas = [2 * (z - v)]
    for w, h in zip(weights[:0:-1], before[-2::-1], strict=True):
        gate = h.sigmoid()
        deltas.insert(0, (deltas[0] @ w) * gate * (1 + h * (1 - gate)))
    return inputs, deltas


def _read(
    weights: Layers,
    momentum: Layers,
    written: list[Tensor],
    deltas: list[Tensor],
    z: Float[Tensor, "batch tokens dim"],
    chunk: _Chunk,
) -> Float[Tensor, "batch tokens dim"]:
    """M_t(q_t) of every token of a chunk, layer by layer."""
    keep, carried = chunk.keep[..., None], chunk.carried[..., None]
    for place, (w, s, inp, delta) in enumerate(
        zip(weights, momentum, written, deltas, strict=True)
    ):
        z = functional.silu(z) if place else z
        z = keep * (z @ w.mT) + carried * (z @ s.mT) + (chunk.mix * (z @ inp.mT)) @ delta
    return z


def _write(
    weights: Layers, momentum: Layers, written: list[Tensor], deltas: list[Tensor], chunk: _Chunk
) -> tuple[Layers, Layers]:
    """M and S after the last token of a chunk."""
    keep, carried = chunk.keep[:, -1, None, None], chunk.carried[:, -1, None, None]
    mix, stay = chunk.mix[:, -1, :, None], chunk.momentum_keep[:, None, None]
    after, momentum_after = [], []
    for w, s, inp, delta in zip(weights, momentum, written, deltas, strict=True):
        after.append(keep * w + carried * s + delta.mT @ (mix * inp))
        momentum_after.append(stay * s + delta.mT @ (chunk.momentum_mix[..., None] * inp))
    return tuple(after), tuple(momentum_after)


def _chunks(
    gates: Float[Tensor, "batch chunks tokens 3"], active: Bool[Tensor, "batch chunks tokens"]
) -> Iterable[_Chunk]:
    """Decays of every chunk, from log sigma of the gates' logits."""
    alpha, eta, theta = gates.unbind(-1)
    log_keep = functional.logsigmoid(-alpha).masked_fill(~active, 0)
    log_momentum = functional.logsigmoid(eta).masked_fill(~active, 0)
    rate = theta.sigmoid().masked_fill(~active, 0)
    keep_pairs = _pairwise_decay(log_keep) * active[..., None, :]
    momentum_pairs = _pairwise_decay(log_momentum)
    momentum_keep = log_momentum.cumsum(-1).exp()
    parts = (
        log_keep.cumsum(-1).exp(),
        (keep_pairs @ momentum_keep[..., None])[..., 0],
        (keep_pairs @ momentum_pairs) * -rate[..., None, :],
        momentum_keep[..., -1],
        momentum_pairs[..., -1, :] * -rate,
    )
    return [_Chunk(*fields) for fields in zip(*(part.unbind(1) for part in parts), strict=True)]


def _pairwise_decay(
    log_a: Float[Tensor, "*batch tokens"],
) -> Float[Tensor, "*batch tokens tokens"]:
    """exp(sum of log a_i over j < i <= t) for j <= t, else 0.

    Sums of their own, not differences of one running sum: these would lose the small decays that
    follow a large one.
    """
    size = log_a.shape[-1]
    below = torch.ones(size, size, dtype=torch.bool, device=log_a.device).tril(-1)
    terms = log_a[..., None].expand(*log_a.shape, size).masked_fill(~below, 0)
    above = ~below & ~torch.eye(size, dtype=torch.bool, device=log_a.device)
    return terms.cumsum(-2).masked_fill(above, -torch.inf).exp()
