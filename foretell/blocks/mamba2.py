"""Mamba-2, a selective state-space layer, with remedies for its collapse on long sequences."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.causal_conv import causal_conv
from foretell.blocks.checks import check_positive
from foretell.blocks.mamba2_start import start_decays
from foretell.blocks.protocol import active_steps, check_input, mask_steps
from foretell.blocks.rms_norm import rms_norm
from foretell.blocks.scan.backends import SSD_SCANS, Scan, ScanBackend, choose_scan, linear_scan_on
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.normalised import end_position, norm_scale, normalised_scan
from foretell.blocks.scan.recent import RecentInputs, clear_recent, push_recent, read_recent
from foretell.blocks.scan.window import WindowCarry, start_window, window_state, windowed_ssd
from foretell.blocks.segments import (
    TIME_BLOCK,
    all_finite,
    discard_state,
    run_apart,
    run_blocks,
    segment_ids,
)
from foretell.blocks.state_maps import LinearStateMixer


class Mamba2State(NamedTuple):
    """Where a sequence stands."""

    ssm: Float[Tensor, "batch heads width state"]
    """Matrix state h; with a window only what is left of the initial one."""
    conv: Float[Tensor, "batch channels taps"]
    """Last inputs of the convolution, oldest first."""
    position: Int[Tensor, " batch"]
    """Steps since the sequence began."""
    recent: RecentInputs | tuple[()] = ()
    """Inputs inside the window; empty without one."""


class Mamba2(LinearStateMixer):
    """State-space duality layer (Mamba-2, 2405.21060).

    z, x, B, C, dt = in_proj(input); x, B, C pass a causal depthwise convolution and SiLU; per head
    h_t = a_t h_{t-1} + dt_t x_t B_t^T, a_t = exp(-dt_t exp(A_log)), dt_t = softplus(dt + dt_bias);
    y_t = h_t C_t + D x_t; output = out_proj(RMSNorm(y (x) silu(z))), the norm over the channels of
    a group, as in the published code. `log_decay_rate` is A_log, `skip` is D.

    Against state collapse (2410.07145v1), off by default: `decay_scale` and `input_scale` forget
    more and remember less, `max_state_norm` bounds the state, `window` forgets all but the last
    inputs.

    Shapes: x [batch, time, input_dim] -> y [batch, time, input_dim]; the state holds
    expand * input_dim * state_dim + (conv_width - 1) * (expand * input_dim + 2 * num_groups *
    state_dim) numbers a row, and the inputs in the window.

    Args:
        input_dim: Width of input and output.
        state_dim: N, columns of a head's state.
        expand: Channels of x for each input channel.
        head_dim: P, channels of a head, which share a decay.
        num_groups: Sets of B and C; they divide the heads.
        conv_width: Taps of the convolution.
        bias: Of the two projections.
        conv_bias: Of the convolution.
        norm_eps: Added to the mean square.
        per_channel: Decays of their own for every channel and column, the scan of Mamba-1
            (2312.00752); slower, for comparison. dt stays one for each head: head_dim = 1 gives
            Mamba-1's, from a full instead of a low-rank projection.
        decay_scale: At least 1: a_t = exp(-decay_scale dt_t exp(A_log)).
        input_scale: In (0, 1], factor of B_t.
        max_state_norm: Greatest Frobenius norm p of a head's state.
        norm_every: Steps k between normalisations, counted from where the sequence began; part of
            the model. 1 is the paper's rule and a loop, 32 and more are fast.
        window: Inputs r that a state remembers.
        seed_dim: Width of the vector that `seed_state` takes; none = no such map.
        readout_dim: Width of what `readout` gives; none = no such map.
        chunk_size: Steps that the scan computes at once; none = 32 on a CPU, 128 on a GPU.
        scan_fn: Scan with the signature of `scan.naive.ssd` instead of ours, say a fused kernel.
        scan_backend: "auto" runs `scan_fn`, the others a scan of ours.

    Raises:
        ValueError: An option lies outside its range, or two exclude each other.

    Example:
        >>> block = Mamba2(8, 4, head_dim=4)
        >>> y, state = block(torch.zeros(2, 10, 8))
        >>> y.shape, state.ssm.shape
        (torch.Size([2, 10, 8]), torch.Size([2, 4, 4, 4]))
    """

    mapped_fields = ("ssm", "conv")

    def __init__(
        self,
        input_dim: int,
        state_dim: int = 64,
        *,
        expand: int = 2,
        head_dim: int = 16,
        num_groups: int = 1,
        conv_width: int = 4,
        bias: bool = False,
        conv_bias: bool = True,
        norm_eps: float = 1e-5,
        per_channel: bool = False,
        decay_scale: float = 1.0,
        input_scale: float = 1.0,
        max_state_norm: float | None = None,
        norm_every: int = 1,
        window: int | None = None,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
        chunk_size: int | None = None,
        scan_fn: Scan = ssd,
        scan_backend: ScanBackend = "auto",
    ) -> None:
        super().__init__()
        self.input_dim = self.output_dim = input_dim
        self.state_dim, self.inner_dim, self.head_dim = state_dim, expand * input_dim, head_dim
        self.num_groups, self.conv_width, self.norm_eps = num_groups, conv_width, norm_eps
        self.per_channel, self.decay_scale, self.input_scale = per_channel, decay_scale, input_scale
        self.max_state_norm, self.norm_every, self.window = max_state_norm, norm_every, window
        self.chunk_size, self.scan_fn, self.scan_backend = chunk_size, scan_fn, scan_backend
        self._check()
        self.num_heads = self.inner_dim // head_dim
        self.chunk_invariant = max_state_norm is None

        channels = self.inner_dim + 2 * num_groups * state_dim
        rate_shape = (head_dim, state_dim) if per_channel else ()
        self.in_proj = nn.Linear(input_dim, self.inner_dim + channels + self.num_heads, bias=bias)
        self.conv_weight = nn.Parameter(torch.empty(channels, conv_width))
        self.conv_bias = nn.Parameter(torch.empty(channels)) if conv_bias else None
        self.dt_bias = nn.Parameter(torch.empty(self.num_heads))
        self.log_decay_rate = nn.Parameter(torch.empty(self.num_heads, *rate_shape))
        self.skip = nn.Parameter(torch.empty(self.num_heads))
        self.norm_weight = nn.Parameter(torch.empty(self.inner_dim))
        self.out_proj = nn.Linear(self.inner_dim, input_dim, bias=bias)
        self._make_maps(seed_dim, readout_dim)
        self.reset_parameters()

    def _check(self) -> None:
        """Refuse options that do not fit."""
        names = ("input_dim", "state_dim", "inner_dim", "head_dim", "num_groups", "conv_width",
                 "norm_every", "window", "chunk_size")  # fmt: skip
        check_positive(**{name: getattr(self, name) for name in names})
        if self.inner_dim % self.head_dim:
            raise ValueError(
                f"head_dim must divide expand * input_dim = {self.inner_dim}, got {self.head_dim}"
            )
        heads = self.inner_dim // self.head_dim
        if heads % self.num_groups:
            raise ValueError(f"num_groups must divide the {heads} heads, got {self.num_groups}")
        if not (self.decay_scale >= 1 >= self.input_scale > 0):
            raise ValueError(
                "decay_scale must be at least 1 and input_scale in (0, 1], got "
                f"{self.decay_scale:g} and {self.input_scale:g}"
            )
        if self.max_state_norm is not None and not self.max_state_norm > 0:
            raise ValueError(f"max_state_norm must be above 0, got {self.max_state_norm:g}")
        choose_scan(SSD_SCANS, self.scan_backend, self.scan_fn)
        own = self.scan_fn is ssd
        if self.per_channel and (self.num_groups > 1 or not own):
            raise ValueError("per_channel takes num_groups = 1 and no scan_fn: it has no such scan")
        if self.window is not None and (
            self.per_channel or self.max_state_norm is not None or not own
            or self.scan_backend in ("naive", "tree")
        ):  # fmt: skip
            raise ValueError(
                "window excludes per_channel, max_state_norm, scan_fn, scan_backend naive and tree"
            )

    def reset_parameters(self) -> None:
        """D = 1, A_log and dt_bias as `start_decays`; the rest as torch does."""
        self.in_proj.reset_parameters()
        self.out_proj.reset_parameters()
        self._reset_maps()
        bound = self.conv_width**-0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        if self.conv_bias is not None:
            nn.init.uniform_(self.conv_bias, -bound, bound)
        nn.init.ones_(self.skip)
        nn.init.ones_(self.norm_weight)
        start_decays(self.log_decay_rate, self.dt_bias, per_channel=self.per_channel)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """Parameters that weight decay would pull away from their meaning: A_log, D, dt_bias."""
        return [self.log_decay_rate, self.skip, self.dt_bias]

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"num_heads={self.num_heads}, head_dim={self.head_dim}, state_dim={self.state_dim}, "
            f"num_groups={self.num_groups}, conv_width={self.conv_width}, "
            f"per_channel={self.per_channel}, decay_scale={self.decay_scale:g}, "
            f"input_scale={self.input_scale:g}, max_state_norm={self.max_state_norm}, "
            f"norm_every={self.norm_every}, window={self.window}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Mamba2State:
        """Zeros."""
        place, kind = self._place(device, dtype)
        ssm = torch.zeros(
            batch, self.num_heads, self.head_dim, self.state_dim, device=place, dtype=kind
        )
        conv = ssm.new_zeros(batch, len(self.conv_weight), self.conv_width - 1)
        position = torch.zeros(batch, dtype=torch.int64, device=place)
        if self.window is None:
            return Mamba2State(ssm, conv, position)
        start = start_window(ssm, self.window, self.num_groups)
        return Mamba2State(ssm, conv, position, RecentInputs(start.x, start.log_a, start.B))

    def forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: Mamba2State | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], Mamba2State]:
        """All steps; see `SequenceMixer.forward`."""
        check_input(x, self.input_dim)
        state, _ = self._begin(x, state, lengths=lengths, reset=reset)
        if not x.shape[1]:
            return x.new_zeros(len(x), 0, self.output_dim), state
        lengths = None if lengths is None else lengths.to(x.device)
        # A decay per channel has tensors of the states of all steps.
        block = TIME_BLOCK // 4 if self.per_channel else TIME_BLOCK
        return run_blocks(self._forward, x, state, lengths, reset, block_size=block)

    def _forward(
        self,
        x: Float[Tensor, "batch time input_dim"],
        state: Mamba2State,
        lengths: Int[Tensor, " batch"] | None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time output_dim"], Mamba2State]:
        """One block of `forward`."""
        active = active_steps(x.shape[1], lengths=lengths, like=x)
        if reset is not None:
            reset = reset if active is None else reset & active
            state = discard_state(self, state, reset)
        gate, inputs, dt = self._project(mask_steps(x, active), state)
        with torch.autocast(x.device.type, enabled=False):
            segment = segment_ids(reset)
            inputs, conv = causal_conv(
                inputs, state.conv, self.conv_weight, self.conv_bias,
                segment=segment, lengths=lengths,
            )  # fmt: skip
            values, B, C = self._split(functional.silu(inputs))
            dt = mask_steps(functional.softplus(dt + self.dt_bias.to(dt)), active)
            added = self.input_scale * dt[..., None] * values
            y, ssm, recent = self._run(added, dt, B, C, state, segment, lengths, reset)
            y = self._norm(y + self.skip.to(y)[:, None] * values, gate)
        if reset is not None and not all_finite(y):
            return run_apart(self, x, state, lengths=lengths, reset=reset)
        position = end_position(state.position, x.shape[1], lengths=lengths, reset=reset)
        recent = clear_recent(recent, position) if isinstance(recent, RecentInputs) else ()
        after = Mamba2State(ssm, conv, position, recent)
        return mask_steps(self._output(y, x.dtype), active), after

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: Mamba2State
    ) -> tuple[Float[Tensor, "batch output_dim"], Mamba2State]:
        """One step by the recurrence."""
        self._check_step(x_t, state)
        gate, inputs, dt = self._project(x_t, state)
        with torch.autocast(x_t.device.type, enabled=False):
            taps = torch.cat([state.conv, inputs[..., None]], -1)
            mixed = (taps * self.conv_weight.to(taps)).sum(-1)
            if self.conv_bias is not None:
                mixed = mixed + self.conv_bias.to(taps)
            values, B, C = self._split(functional.silu(mixed))
            dt = functional.softplus(dt + self.dt_bias.to(dt))
            added = self.input_scale * dt[..., None] * values
            y, ssm, recent = self._advance(added, dt, B, C, state)
            y = self._norm(y + self.skip.to(y)[:, None] * values, gate)
        after = Mamba2State(ssm, taps[..., 1:], state.position + 1, recent)
        return self._output(y, x_t.dtype), after

    def _project(self, x: Tensor, state: Mamba2State) -> tuple[Tensor, Tensor, Tensor]:
        """z, the inputs of the convolution and dt, in the type of the state."""
        projected = self.in_proj(x.to(self.in_proj.weight.dtype)).to(state.ssm.dtype)
        widths = [self.inner_dim, len(self.conv_weight), self.num_heads]
        gate, inputs, dt = projected.split(widths, -1)
        return gate, inputs, dt

    def _split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [..., heads, width], B and C [..., groups, state]."""
        directions = self.num_groups * self.state_dim
        x, B, C = mixed.split([self.inner_dim, directions, directions], -1)
        shape = (self.num_groups, self.state_dim)
        return x.unflatten(-1, (-1, self.head_dim)), B.unflatten(-1, shape), C.unflatten(-1, shape)

    def _rate(self, like: Tensor) -> Tensor:
        """Decay per unit of dt, [heads] or [heads, width, state]."""
        return self.decay_scale * self.log_decay_rate.to(like).exp()

    def _run(
        self,
        x: Float[Tensor, "batch time heads width"],
        dt: Float[Tensor, "batch time heads"],
        B: Float[Tensor, "batch time groups state"],
        C: Float[Tensor, "batch time groups state"],
        state: Mamba2State,
        segment: Int[Tensor, "batch time"] | None,
        lengths: Int[Tensor, " batch"] | None,
        reset: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Tensor, Tensor, RecentInputs | tuple[()]]:
        """All steps of the state: y, its final value and the inputs in the window."""
        if isinstance(state.recent, RecentInputs):
            carry = WindowCarry(state.ssm, state.position, *state.recent)
            y, end = windowed_ssd(
                x, -dt * self._rate(dt), B, C, carry,
                segment=segment, lengths=lengths, chunk_size=self.chunk_size,
            )  # fmt: skip
            return y, end.h, RecentInputs(end.x, end.log_a, end.B)
        if self.max_state_norm is None:
            y, ssm = self._scan(x, dt, B, C, state.ssm, segment)
        else:
            y, ssm = normalised_scan(
                self._scan, x, dt, B, C, state.ssm, state.position,
                max_norm=self.max_state_norm, every=self.norm_every, lengths=lengths, reset=reset,
            )  # fmt: skip
        return y, ssm, ()

    def _scan(
        self,
        x: Tensor,
        dt: Tensor,
        B: Tensor,
        C: Tensor,
        h: Tensor,
        segment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Steps without normalisation, by the chosen scan."""
        form = "chunked" if self.scan_backend == "auto" else self.scan_backend
        if self.per_channel:
            log_a = -dt[..., None, None] * self._rate(dt)
            scan = linear_scan_on(x.device.type, self.scan_backend)
            states, h = scan(log_a, x[..., None] * B[:, :, :, None], h, segment=segment)
            return (states * C[:, :, :, None]).sum(-1), h
        log_a = -dt * self._rate(dt)
        if self.scan_fn is not ssd:
            return self.scan_fn(x, log_a, B, C, h, segment=segment)
        if self.max_state_norm is not None and self.norm_every == 1 and self.scan_backend == "auto":
            form = "naive"  # blocks of one step
        if form == "chunked":
            return ssd(x, log_a, B, C, h, segment=segment, chunk_size=self.chunk_size)
        return SSD_SCANS[form](x, log_a, B, C, h, segment=segment)

    def _advance(
        self,
        x: Float[Tensor, "batch heads width"],
        dt: Float[Tensor, "batch heads"],
        B: Float[Tensor, "batch groups state"],
        C: Float[Tensor, "batch groups state"],
        state: Mamba2State,
    ) -> tuple[Tensor, Tensor, RecentInputs | tuple[()]]:
        """One step of the state, as `_run`."""
        share = self.num_heads // self.num_groups
        wide_B, wide_C = B.repeat_interleave(share, 1), C.repeat_interleave(share, 1)
        rate = self._rate(dt)
        log_a = -dt[..., None, None] * (rate if self.per_channel else rate[:, None, None])
        h = log_a.exp() * state.ssm
        if isinstance(state.recent, RecentInputs):
            decay = log_a[..., 0, 0].masked_fill((state.position == 0)[:, None], 0)
            recent = push_recent(state.recent, x, decay, B)
            gone = state.position + 1 >= recent.x.shape[1]
            old = h.masked_fill(gone[:, None, None, None], 0)
            return read_recent(recent, C) + (old @ wide_C[..., None])[..., 0], h, recent
        h = h + x[..., None] * wide_B[:, :, None]
        if self.max_state_norm is not None:
            due = (state.position + 1) % self.norm_every == 0
            scale = torch.where(due[:, None], norm_scale(h, self.max_state_norm), 1.0)
            h = h * scale[..., None, None]
        return (h @ wide_C[..., None])[..., 0], h, ()

    def _norm(self, y: Tensor, gate: Tensor) -> Tensor:
        gated = (y.flatten(-2) * functional.silu(gate)).unflatten(-1, (self.num_groups, -1))
        return rms_norm(gated, self.norm_eps).flatten(-2) * self.norm_weight.to(y)

    def _flat(self, state: Mamba2State) -> Tensor:
        """With a window S, what the state remembers, instead of what is left of the first one."""
        if isinstance(state.recent, RecentInputs):
            carry = WindowCarry(state.ssm, state.position, *state.recent)
            state = state._replace(ssm=window_state(carry))
        return super()._flat(state)

    def _output(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        projected: Tensor = self.out_proj(y.to(self.out_proj.weight.dtype))
        return projected.to(dtype)
