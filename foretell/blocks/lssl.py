"""Linear state-space layer with a HiPPO matrix (LSSL, 2110.13985)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.hippo import Hippo, discretise_bilinear, hippo_matrices, sample_log_dt
from foretell.blocks.scan.time_invariant import BlockSystem
from foretell.blocks.time_invariant import TimeInvariantMixer, check_system_type


class LsslState(NamedTuple):
    """State of an LSSL."""

    x: Float[Tensor, "batch dim state"]
    """Of every channel."""


class LSSL(TimeInvariantMixer):
    """x_t = Abar x_{t-1} + Bbar u_t, y_t = C x_t + D u_t per channel, GELU, then a Linear.

    (Abar, Bbar) is the generalised bilinear transform of x' = A x + B u with the channel's step dt
    (LSSL, 2110.13985, eq. 3); y reads the new state. A [N, N] and B [N] are shared by the channels;
    dt [dim], C [dim, M, N] and D [dim, M] are not; the Linear maps M * dim to dim values. A starts
    as a HiPPO matrix, log dt ~ U(log dt_min, log dt_max), C and D ~ N(0, 1).

    Deviations: the paper learns A inside a structured family, here it is a dense matrix; the paper
    and its code pass no state between calls, here any sequence may be continued.

    Args:
        dim: Channels of x and of y.
        state_dim: N.
        num_outputs: M, outputs of each channel before the Linear.
        hippo: Start of A and B: "legs", the whole past, or "legt", a window.
        legt_scale: Reciprocal of LegT's window, see `hippo_matrices`.
        alpha: 1/2 bilinear, 1 backward Euler, 0 Euler (unstable where dt * N > 2).
        trainable: Learn A and dt; else they are buffers ("LSSL-fixed").
        dt_min: Shortest step at the start.
        dt_max: Longest step at the start.
        block_size: See `TimeInvariantMixer`.
        seed_dim: Width of the vector that `seed_state` takes; none = no such map.
        readout_dim: Width of what `readout` gives; none = no such map.
    """

    max_block_size = 1024
    A: Tensor
    log_dt: Tensor

    def __init__(
        self,
        dim: int,
        state_dim: int = 64,
        *,
        num_outputs: int = 1,
        hippo: Hippo = "legs",
        legt_scale: float = 1.0,
        alpha: float = 0.5,
        trainable: bool = True,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        block_size: int = 256,
        seed_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__(dim, state_dim, block_size=block_size)
        check_choice("hippo", hippo, Hippo)
        check_positive(num_outputs=num_outputs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        self.num_outputs, self.alpha, self.trainable = num_outputs, alpha, trainable
        self.hippo, self.legt_scale = hippo, legt_scale
        self.dt_min, self.dt_max = dt_min, dt_max
        for name, shape in (("A", (state_dim, state_dim)), ("log_dt", (dim,))):
            if trainable:
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
            else:
                self.register_buffer(name, torch.empty(shape))
        self.B = nn.Parameter(torch.empty(state_dim))
        self.C = nn.Parameter(torch.empty(dim, num_outputs, state_dim))
        self.D = nn.Parameter(torch.empty(dim, num_outputs))
        self.mix = nn.Linear(num_outputs * dim, dim)
        self._make_maps(seed_dim, readout_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """HiPPO's A and B, log-uniform dt, normal C and D, and PyTorch's default for the Linear."""
        A, B = hippo_matrices(self.hippo, self.state_dim, legt_scale=self.legt_scale)
        self.A.copy_(A)
        self.B.copy_(B)
        self.log_dt.copy_(sample_log_dt(self.input_dim, dt_min=self.dt_min, dt_max=self.dt_max))
        nn.init.normal_(self.C)
        nn.init.normal_(self.D)
        self.mix.reset_parameters()
        self._reset_maps()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return (
            f"dim={self.input_dim}, state_dim={self.state_dim}, num_outputs={self.num_outputs}, "
            f"hippo={self.hippo!r}, alpha={self.alpha:g}, trainable={self.trainable}, "
            f"block_size={self.block_size}"
        )

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> LsslState:
        """Zeros."""
        place, kind = self._place(device, dtype)
        return LsslState(
            torch.zeros(batch, self.input_dim, self.state_dim, device=place, dtype=kind)
        )

    def discretise(
        self, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "dim state state"], Float[Tensor, "dim state"]]:
        """Abar and Bbar of every channel, computed in `dtype`: float32 or float64."""
        check_system_type(dtype)
        dt = self.log_dt.to(dtype).exp()
        return discretise_bilinear(self.A.to(dtype), self.B.to(dtype), dt, alpha=self.alpha)

    def step(
        self,
        x_t: Float[Tensor, "batch dim"],
        state: LsslState,
        *,
        discrete: tuple[Float[Tensor, "dim state state"], Float[Tensor, "dim state"]] | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], LsslState]:
        """One step of the recurrence.

        Args:
            x_t: Input.
            state: Before the step.
            discrete: `discretise(state.x.dtype)` of the present parameters, for a caller that takes
                many steps: it costs dim * N^3, the step itself dim * N^2.
        """
        self._check_step(x_t, state)
        dtype = state.x.dtype
        with torch.autocast(x_t.device.type, enabled=False):
            Abar, Bbar = self.discretise(dtype) if discrete is None else discrete
            u = x_t.to(dtype)[..., None]
            x = (Abar @ state.x[..., None])[..., 0] + Bbar * u
            y = (self.C.to(dtype) * x[:, :, None]).sum(-1) + self.D.to(dtype) * u
        return self._mix(y).to(x_t.dtype), LsslState(x)

    def _system(self, block: int, dtype: torch.dtype) -> BlockSystem:
        """Krylov matrices from both sides; Abar's powers of two serve these and the state."""
        Abar, Bbar = self.discretise(dtype)
        C = self.C.to(dtype)
        powers = [Abar]
        while 2 ** len(powers) <= block:
            powers.append(powers[-1] @ powers[-1])
        reach = krylov(powers, Bbar[..., None], block)[..., 0]
        read = krylov([power.mT for power in powers], (C @ Abar).mT, block)

        def advance(x: Tensor, steps: Tensor | int) -> Tensor:
            for bit, power in enumerate(powers):
                taken = (steps >> bit) & 1
                if isinstance(taken, Tensor):
                    moved = (power @ x[..., None])[..., 0]
                    x = torch.where(taken.bool()[:, None, None], moved, x)
                elif taken:
                    x = (power @ x[..., None])[..., 0]
            return x

        return BlockSystem(C @ reach, reach, read.permute(0, 3, 1, 2), advance)

    def _mix(self, y: Float[Tensor, "*rows dim outputs"]) -> Float[Tensor, "*rows dim"]:
        mixed: Tensor = self.mix(functional.gelu(y).flatten(-2).to(self.mix.weight.dtype))
        return mixed


def krylov(
    powers: list[Float[Tensor, "dim state state"]],
    start: Float[Tensor, "dim state width"],
    steps: int,
) -> Float[Tensor, "dim state steps width"]:
    """M^l S for l = 0 .. steps - 1, by doubling: the first 2^k of them times M^(2^k) are the next.

    Args:
        powers: M^(2^k), k = 0, 1, .. while 2^k < steps.
        start: S, one of each channel.
        steps: How many.
    """
    width = start.shape[-1]
    columns: Tensor = start
    for power in powers:
        wanted = steps * width - columns.shape[-1]
        if wanted > 0:
            columns = torch.cat([columns, power @ columns[..., :wanted]], dim=-1)
    return columns.reshape(*start.shape[:-1], steps, width)


def lssl_naive(
    block: LSSL, x: Float[Tensor, "batch time dim"], state: LsslState
) -> tuple[Float[Tensor, "batch time dim"], LsslState]:
    """A loop over channels and time that solves the implicit step itself.

    (I - alpha dt A) x_t = (I + (1 - alpha) dt A) x_{t-1} + dt B u_t.
    """
    eye = torch.eye(block.state_dim, dtype=state.x.dtype, device=x.device)
    values, ends = [], []
    for i, dt in enumerate(block.log_dt.exp().unbind()):
        left, right = eye - block.alpha * dt * block.A, eye + (1 - block.alpha) * dt * block.A
        now, outputs = state.x[:, i], []
        for u in x[..., i].unbind(1):
            now = torch.linalg.solve(left, (now @ right.T + dt * u[:, None] * block.B).T).T
            outputs.append(now @ block.C[i].T + u[:, None] * block.D[i])
        values.append(torch.stack(outputs, dim=1))
        ends.append(now)
    activated = functional.gelu(torch.cat(values, dim=-1))
    return block.mix(activated), LsslState(torch.stack(ends, dim=1))
