"""Diagonal state-space layer (S4D, 2206.11893)."""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_choice
from foretell.blocks.hippo import Poles, discretise_zoh_diagonal, s4d_poles, sample_log_dt
from foretell.blocks.scan.time_invariant import BlockSystem
from foretell.blocks.time_invariant import TimeInvariantMixer, check_system_type


class S4dState(NamedTuple):
    """State of an S4D."""

    x: Float[Tensor, "batch dim poles 2"]
    """Of every channel, one of each conjugate pair; real and imaginary part."""


class S4D(TimeInvariantMixer):
    """x_t = Abar x_{t-1} + Bbar u_t, y_t = 2 Re(C x_t) + D u_t, then GELU, Linear and GLU.

    Each channel has N/2 conjugate pairs of poles A, one of each kept; zero-order hold with B = 1:
    Abar = exp(dt A), Bbar = (Abar - 1) / A (S4D, 2206.11893). Parameters: `log_decay`
    log(-Re A) and `frequency` Im A [dim, N/2], `log_dt` [dim], complex `C` stored as
    [dim, N/2, 2], `D` [dim]. C starts as a complex normal of variance 1, D as N(0, 1). Re A < 0
    whatever is learned, so no state grows. "real" is a start only: Im A is learned from 0.

    Args:
        dim: Channels of x and of y.
        state_dim: N, even: floats of a channel's state.
        init: Poles at the start, see `s4d_poles`.
        dt_min: Shortest step at the start.
        dt_max: Longest step at the start.
        block_size: See `TimeInvariantMixer`.
        seed_dim: Width of the vector that `seed_state` takes; none = no such map.
        readout_dim: Width of what `readout` gives; none = no such map.
    """

    max_block_size = 4096

    def __init__(
        self,
        dim: int,
        state_dim: int = 64,
        *,
        init: Poles = "lin",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        block_size: int = 128,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__(dim, state_dim, block_size=block_size)
        check_choice("init", init, Poles)
        if state_dim % 2:
            raise ValueError(f"state_dim must be even, got {state_dim}")
        self.init, self.dt_min, self.dt_max = init, dt_min, dt_max
        self.log_decay = nn.Parameter(torch.empty(dim, state_dim // 2))
        self.frequency = nn.Parameter(torch.empty(dim, state_dim // 2))
        self.log_dt = nn.Parameter(torch.empty(dim))
        self.C = nn.Parameter(torch.empty(dim, state_dim // 2, 2))
        self.D = nn.Parameter(torch.empty(dim))
        self.mix = nn.Linear(dim, 2 * dim)
        self._make_maps(seed_dim, readout_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Poles of `init`, log-uniform dt, normal C and D, PyTorch's default for the Linear."""
        poles = s4d_poles(self.init, self.state_dim)
        self.log_decay.copy_((-poles.real).log().expand_as(self.log_decay))
        self.frequency.copy_(poles.imag.expand_as(self.frequency))
        self.log_dt.copy_(sample_log_dt(self.input_dim, dt_min=self.dt_min, dt_max=self.dt_max))
        nn.init.normal_(self.C, std=0.5**0.5)
        nn.init.normal_(self.D)
        self.mix.reset_parameters()
        self._reset_maps()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"dim={self.input_dim}, state_dim={self.state_dim}, init={self.init!r}, "
            f"block_size={self.block_size}"
        )

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """dt and A: for an optimiser group without weight decay and with its own learning rate."""
        return [self.log_dt, self.log_decay, self.frequency]

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> S4dState:
        """Zeros."""
        place, kind = self._place(device, dtype)
        shape = (batch, self.input_dim, self.state_dim // 2, 2)
        return S4dState(torch.zeros(shape, device=place, dtype=kind))

    def poles(self, dtype: torch.dtype) -> Complex[Tensor, "dim poles"]:
        """A, from parameters taken to the real type `dtype`: float32 or float64."""
        check_system_type(dtype)
        return torch.complex(-self.log_decay.to(dtype).exp(), self.frequency.to(dtype))

    def step(
        self, x_t: Float[Tensor, "batch dim"], state: S4dState
    ) -> tuple[Float[Tensor, "batch dim"], S4dState]:
        """One step of the recurrence."""
        self._check_step(x_t, state)
        dtype = state.x.dtype
        with torch.autocast(x_t.device.type, enabled=False):
            Abar, Bbar = discretise_zoh_diagonal(self.poles(dtype), self.log_dt.to(dtype).exp())
            u = x_t.to(dtype)
            x = Abar * torch.complex(*state.x.unbind(-1)) + Bbar * u[..., None]
            C = torch.view_as_complex(self.C.to(dtype))
            y = 2 * (C * x).sum(-1).real + self.D.to(dtype) * u
        return self._mix(y[..., None]).to(x_t.dtype), S4dState(torch.view_as_real(x))

    def _system(self, block: int, dtype: torch.dtype) -> BlockSystem:
        """Vandermonde matrix Abar^l, l = 0 .. block, and its products with Bbar and C."""
        A, dt = self.poles(dtype), self.log_dt.to(dtype).exp()
        exponent = dt[:, None] * A
        _, Bbar = discretise_zoh_diagonal(A, dt)
        C = torch.view_as_complex(self.C.to(dtype))
        steps = torch.arange(block + 1, device=A.device, dtype=dtype)
        # The exponential of a complex tensor takes several times as long as its two parts.
        size, angle = (exponent.real[..., None] * steps).exp(), exponent.imag[..., None] * steps
        powers = torch.polar(size, angle)
        # Re(G x) is the inner product of the real and imaginary parts of conj(G) and x.
        read = _parts(2 * (C[..., None] * powers[..., 1:]).conj())
        reach = _parts(Bbar[..., None] * powers[..., :-1])
        kernel = _parts(2 * C.conj()[..., None]).mT @ reach

        def advance(x: Tensor, taken: Tensor | int) -> Tensor:
            value = torch.complex(*x.unflatten(-1, (-1, 2)).unbind(-1))  # of any layout
            if isinstance(taken, Tensor):
                taken = taken.to(dtype)[:, None, None]
            return torch.view_as_real((exponent * taken).exp() * value).flatten(-2)

        return BlockSystem(kernel, reach, read[:, None], advance)

    def _mix(self, y: Float[Tensor, "*rows dim 1"]) -> Float[Tensor, "*rows dim"]:
        activated = functional.gelu(y[..., 0]).to(self.mix.weight.dtype)
        return functional.glu(self.mix(activated), dim=-1)


def _parts(
    value: Complex[Tensor, "dim poles block"],
) -> Float[Tensor, "dim state block"]:
    """Real and imaginary part of each pole as neighbouring rows."""
    return torch.view_as_real(value.resolve_conj()).movedim(-1, 2).flatten(1, 2)


def s4d_naive(
    block: S4D, x: Float[Tensor, "batch time dim"], state: S4dState
) -> tuple[Float[Tensor, "batch time dim"], S4dState]:
    """A loop over time with both poles of every conjugate pair, y from the sum of all N."""
    decay, frequency = block.log_decay.exp(), block.frequency
    half = -decay + 1j * frequency
    A = torch.cat([half, half.conj()], dim=-1)
    Abar = (block.log_dt.exp()[:, None] * A).exp()
    Bbar = (Abar - 1) / A
    C = block.C[..., 0] + 1j * block.C[..., 1]
    C = torch.cat([C, C.conj()], dim=-1)
    now = state.x[..., 0] + 1j * state.x[..., 1]
    now = torch.cat([now, now.conj()], dim=-1)
    outputs = []
    for u in x.unbind(1):
        now = Abar * now + Bbar * u[..., None]
        outputs.append((C * now).sum(-1).real + block.D * u)
    values = block.mix(functional.gelu(torch.stack(outputs, dim=1)))
    return functional.glu(values, dim=-1), S4dState(torch.view_as_real(now.chunk(2, -1)[0]))
