"""The Mamba-2 layer as one plain loop: the oracle of `foretell.blocks.mamba2`."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from foretell.blocks.mamba2 import Mamba2, Mamba2State
from foretell.blocks.scan.recent import RecentInputs


def mamba2_naive(
    block: Mamba2, x: Float[Tensor, "batch time input_dim"], state: Mamba2State
) -> tuple[Float[Tensor, "batch time output_dim"], Mamba2State]:
    """Step by step, head by head, in the words of 2405.21060 and 2410.07145v1.

    h_t = a_t h_{t-1} + dt_t x_t B_t^T; y_t = h_t C_t + D x_t; out_proj(RMSNorm(y (x) silu(z))).
    Every `norm_every` steps h is cut back to the norm `max_state_norm`; with a window h_t is summed
    anew from the last inputs at every step.

    Args:
        block: Gives weights and options.
        x: Inputs.
        state: Where to start; all rows at the same position.

    Returns:
        y of every step, and the final state.
    """
    heads, groups, N = block.num_heads, block.num_groups, block.state_dim
    h, taps, position = state.ssm, list(state.conv.unbind(-1)), state.position
    past = [tuple(field[:, i] for field in state.recent) for i in range(block.window or 0)]
    rate = block.decay_scale * block.log_decay_rate.exp()
    out = []
    for x_t in x.unbind(1):
        z, xBC, dt = block.in_proj(x_t).split(
            [block.inner_dim, block.inner_dim + 2 * groups * N, heads], -1
        )
        taps.append(xBC)
        xBC = sum(weight * tap for weight, tap in zip(block.conv_weight.T, taps, strict=True))
        xBC = functional.silu(xBC if block.conv_bias is None else xBC + block.conv_bias)
        taps = taps[1:]
        inner, B, C = xBC.split([block.inner_dim, groups * N, groups * N], -1)
        B, C = B.unflatten(-1, (groups, N)), C.unflatten(-1, (groups, N))
        dt = functional.softplus(dt + block.dt_bias)
        states, y = [], []
        first = int(position[0]) == 0
        if block.window is not None:
            inputs = block.input_scale * dt[..., None] * inner.unflatten(-1, (heads, -1))
            log_a = -dt * rate
            past = [*past[1:], (inputs, 0 * log_a if first else log_a, B)]
        position = position + 1
        for head in range(heads):
            group = head // (heads // groups)
            x_h = inner[:, head * block.head_dim : (head + 1) * block.head_dim]
            dt_h = dt[:, head, None, None]
            h_h = torch.exp(-dt_h * rate[head]) * h[:, head]
            added = dt_h * x_h[..., None] * (block.input_scale * B[:, group, None])
            states.append(h_h if block.window is not None else h_h + added)
            seen = states[-1]
            if block.window is not None:
                seen = h_h if int(position[0]) < block.window else torch.zeros_like(h_h)
                kept = torch.zeros_like(h_h)
                for x_j, log_a_j, B_j in past:
                    decay = log_a_j[:, head, None, None].exp()
                    kept = decay * kept + x_j[:, head, :, None] * B_j[:, group, None]
                seen = seen + kept
            elif block.max_state_norm is not None and int(position[0]) % block.norm_every == 0:
                norm = seen.square().sum((1, 2), keepdim=True).sqrt()
                above = norm > block.max_state_norm
                seen = torch.where(above, seen * (block.max_state_norm / norm), seen)
                states[-1] = seen
            y.append((seen * C[:, group, None]).sum(-1) + block.skip[head] * x_h)
        h = torch.stack(states, 1)
        gated = torch.cat(y, -1) * functional.silu(z)
        parts = gated.unflatten(-1, (groups, -1))
        parts = parts / (parts.square().mean(-1, keepdim=True) + block.norm_eps).sqrt()
        out.append(block.out_proj(parts.flatten(-2) * block.norm_weight))
    recent = state.recent
    if past:
        recent = RecentInputs(*(torch.stack(field, 1) for field in zip(*past, strict=True)))
    conv = torch.stack(taps, -1) if taps else state.conv
    y_all = torch.stack(out, 1) if out else x.new_zeros(len(x), 0, block.output_dim)
    return y_all, Mamba2State(h, conv, position, recent)
