"""Titans token by token with autograd inside: the oracles of the memory and of its blocks."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from foretell.blocks.protocol import where_rows
from foretell.blocks.titans import NORM_EPS, TitansMemory, TitansState
from foretell.blocks.titans_blocks import NORM_EPS as GATE_NORM_EPS
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer, MemoryAttentionState
from foretell.blocks.titans_context import MemoryAsContext, MemoryContextState, SegmentState
from foretell.blocks.titans_memory import Layers, MemoryCarry
from foretell.blocks.window_attention import window_attention_naive


def titans_memory_naive(
    q: Float[Tensor, "batch time dim"],
    k: Float[Tensor, "batch time dim"],
    v: Float[Tensor, "batch time dim"],
    gates: Float[Tensor, "batch time 3"],
    carry: MemoryCarry,
    *,
    chunk_size: int,
) -> tuple[Float[Tensor, "batch time dim"], MemoryCarry]:
    """2501.00663, eqs 10-15, one token after the other; the inner gradient by autograd.

    Args:
        q: Where to read.
        k: Where to write.
        v: What to write.
        gates: Logits of alpha, eta and theta.
        carry: Where the rows stand.
        chunk_size: b; the gradient is taken at M before the first token of its chunk of b.

    Returns:
        y of every token, and where the rows stand then.
    """
    M, S, begin, t = carry
    out = []
    for q_t, k_t, v_t, gates_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), gates.unbind(1),
                                      strict=True):  # fmt: skip
        begin = where_rows(t % chunk_size == 0, M, begin)
        alpha, eta, theta = torch.sigmoid(gates_t)[:, :, None, None].unbind(1)
        gradient = _gradient(begin, k_t, v_t)
        S = tuple(eta * s - theta * g for s, g in zip(S, gradient, strict=True))
        M = tuple((1 - alpha) * m + s for m, s in zip(M, S, strict=True))
        out.append(_memory(M, q_t))
        t = t + 1
    return torch.stack(out, 1), MemoryCarry(M, S, where_rows(t % chunk_size == 0, M, begin), t)


def titans_naive(
    block: TitansMemory, x: Float[Tensor, "batch time input_dim"], state: TitansState
) -> tuple[Float[Tensor, "batch time output_dim"], TitansState]:
    """Loop oracle of `TitansMemory`: at least one step."""
    taps, width = list(state.conv.unbind(-1)), block.memory_dim
    tokens = []
    for x_t in x.unbind(1):
        u = block.project.weight @ x_t[..., None]
        taps.append(u[..., 0])
        mixed = taps[-1]
        if block.conv_weight is not None and block.conv_bias is not None:
            mixed = block.conv_bias.expand_as(mixed)
            for weight, tap in zip(block.conv_weight.T, taps, strict=True):
                mixed = mixed + weight * tap
        taps = taps[1:]
        mixed = mixed * torch.sigmoid(mixed) if block.silu else mixed
        q, k, v = mixed[:, :width], mixed[:, width : 2 * width], mixed[:, 2 * width :]
        if block.normalise:
            q, k = (z / z.square().sum(1, keepdim=True).sqrt().clamp(min=NORM_EPS) for z in (q, k))
        tokens.append((q, k, v, block.gates(x_t)))
    M = _layers(block, state.weights)
    start = M if block.chunk_size == 1 else _layers(block, state.chunk_start)
    carry = MemoryCarry(M, _layers(block, state.momentum), start, state.position)
    q, k, v, gates = (torch.stack(part, 1) for part in zip(*tokens, strict=True))
    y, carry = titans_memory_naive(q, k, v, gates, carry, chunk_size=block.chunk_size)
    y = y if block.output is None else y @ block.output.weight.T
    weights, momentum, begin = (
        torch.cat([part.flatten(1) for part in held], 1) for held in carry[:3]
    )
    begin = weights[:, :0] if block.chunk_size == 1 else begin
    conv = torch.stack(taps, -1) if taps else state.conv
    return y, TitansState(weights, momentum, begin, carry.position, conv)


def memory_as_gate_naive(
    block: MemoryAsGate,
    x: Float[Tensor, "batch time input_dim"],
    state: MemoryAttentionState,
) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
    """Loop oracle of `MemoryAsGate` after P; all rows at the same position."""
    y, attention = window_attention_naive(block.attention, x, state.attention)
    told, memory = titans_naive(block.memory, x, state.memory)
    normed = [z / (z.square().mean(-1, keepdim=True) + GATE_NORM_EPS).sqrt() for z in (y, told)]
    gate = torch.sigmoid(normed[1] * block.memory_scale)
    return normed[0] * block.attention_scale * gate, MemoryAttentionState(memory, attention)


def memory_as_layer_naive(
    block: MemoryAsLayer,
    x: Float[Tensor, "batch time input_dim"],
    state: MemoryAttentionState,
) -> tuple[Float[Tensor, "batch time output_dim"], MemoryAttentionState]:
    """Loop oracle of `MemoryAsLayer` after P; all rows at the same position."""
    told, memory = titans_naive(block.memory, x, state.memory)
    y, attention = window_attention_naive(block.attention, told, state.attention)
    return y, MemoryAttentionState(memory, attention)


def memory_as_context_naive(
    block: MemoryAsContext,
    x: Float[Tensor, "batch time input_dim"],
    state: MemoryContextState,
) -> tuple[Float[Tensor, "batch time output_dim"], MemoryContextState]:
    """Loop oracle of `MemoryAsContext`: lists of the segment's keys; rows at the same position."""
    memory, taps = state.memory, state.segment.taps
    size, attention = block.segment_size, block.attention
    pairs = (*state.segment.keys.chunk(2, -1), *state.segment.values.chunk(2, -1))
    k_h, k_c, v_h, v_c = (list(part.unbind(1)) for part in pairs)
    k_p, v_p = (
        [layer(token).expand(len(x), -1) for token in attention.persistent]
        for layer in (attention.key, attention.value)
    )
    out, steps = [], list(x.unbind(1))
    while steps:
        held = int(memory.position[0]) % size
        segment, steps = steps[: size - held], steps[size - held :]
        begin = memory.chunk_start if held and size > 1 else memory.weights
        asked, taps = _queries(block.memory, segment, taps)
        for q in asked:
            h = _memory(_layers(block.memory, begin), q)
            k_h.append(attention.key(h))
            v_h.append(attention.value(h))
        ys = []
        for c in segment:
            k_c.append(attention.key(c))
            v_c.append(attention.value(c))
            first, last = len(k_h) - held - len(segment), len(k_c)
            last_h = last if block.causal_guard else len(k_h)
            k = torch.stack(k_p + k_h[first:last_h] + k_c[first:last], 1)
            v = torch.stack(v_p + v_h[first:last_h] + v_c[first:last], 1)
            ys.append(attention.output(_heads(attention.query(c), k, v, attention.num_heads)))
        y = torch.stack(ys, 1)
        told, after = titans_naive(block.memory, y, memory)
        if not block.causal_guard:
            asked, _ = _queries(block.memory, ys, memory.conv[:, : block.input_dim])
            end = _layers(block.memory, after.weights)
            told = torch.stack([_memory(end, q) for q in asked], 1)
        out.append(y * told)
        memory = after
    keys, values = (
        torch.cat([torch.stack(part[len(part) - size + 1 :], 1) for part in pair], -1)
        if size > 1
        else state.segment.keys
        for pair in ((k_h, k_c), (v_h, v_c))
    )
    return torch.cat(out, 1), MemoryContextState(memory, SegmentState(keys, values, taps))


def _queries(
    block: TitansMemory,
    tokens: list[Float[Tensor, "batch input_dim"]],
    taps: Float[Tensor, "batch dim taps"],
) -> tuple[list[Float[Tensor, "batch dim"]], Float[Tensor, "batch dim taps"]]:
    """q of the tokens, and the taps after them."""
    width, out = block.memory_dim, []
    for token in tokens:
        q = token @ block.project.weight[:width].T
        if block.conv_weight is not None and block.conv_bias is not None:
            seen = torch.cat([taps, q[..., None]], -1)
            q = (seen * block.conv_weight[:width]).sum(-1) + block.conv_bias[:width]
            taps = seen[..., 1:]
        q = q * torch.sigmoid(q) if block.silu else q
        if block.normalise:
            q = q / q.square().sum(1, keepdim=True).sqrt().clamp(min=NORM_EPS)
        out.append(q)
    return out, taps


def _heads(
    q: Float[Tensor, "batch width"],
    k: Float[Tensor, "batch keys width"],
    v: Float[Tensor, "batch keys width"],
    num_heads: int,
) -> Float[Tensor, "batch width"]:
    """Softmax attention of one query, head by head."""
    mixed = []
    for q_own, k_own, v_own in zip(*(z.chunk(num_heads, -1) for z in (q, k, v)), strict=True):
        scores = (k_own * q_own[:, None]).sum(-1) / q_own.shape[-1] ** 0.5
        mixed.append((torch.softmax(scores, 1)[..., None] * v_own).sum(1))
    return torch.cat(mixed, -1)


def _layers(block: TitansMemory, flat: Float[Tensor, "batch size"]) -> Layers:
    """The matrices of a memory from a state's row."""
    parts, place = [], 0
    for rows, columns in (weight.shape for weight in block.start):
        part = flat[:, place : place + rows * columns]
        parts.append(part.reshape(-1, rows, columns))
        place += rows * columns
    return tuple(parts)


def _memory(weights: Layers, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """M(z)."""
    for place, weight in enumerate(weights):
        z = functional.silu(z) if place else z
        z = torch.einsum("boi,bi->bo", weight, z)
    return z


def _gradient(
    weights: Layers, k: Float[Tensor, "batch dim"], v: Float[Tensor, "batch dim"]
) -> Layers:
    """Gradient of ||M(k) - v||^2, itself differentiable where gradients are wanted."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        free = tuple(w if w.requires_grad else w.detach().requires_grad_() for w in weights)
        loss = (_memory(free, k) - v).square().sum()
        return torch.autograd.grad(loss, free, create_graph=wanted)
