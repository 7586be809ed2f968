"""Recurrences whose state is a weight matrix: the cells of EvolveGCN (1902.10191).

State W and input X are [rows, cols]; columns are what a batch is elsewhere, so every gate has full
matrices U, V [rows, rows] and a bias matrix B [rows, cols]. These are not torch's cells: the GRU
resets before its hidden product, its update gate is reversed, the bias differs by column.
EvolveGCN-O feeds W itself: `step(state.weight, state)`, or `self_step(state)` with half the work.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foretell.blocks.checks import check_positive
from foretell.blocks.loop import loop_steps
from foretell.blocks.protocol import SequenceMixer, mask_steps, state_dtype


class MatrixGruState(NamedTuple):
    """State of a matrix GRU."""

    weight: Float[Tensor, "batch rows cols"]


class MatrixLstmState(NamedTuple):
    """State of a matrix LSTM."""

    weight: Float[Tensor, "batch rows cols"]
    """W, the output state."""
    cell: Float[Tensor, "batch rows cols"]
    """C, the cell state."""


class Gates(NamedTuple):
    """Matrices of all gates, stacked: rows are gates by rows of W."""

    of_input: Float[Tensor, "gates_rows rows"]
    """U of all gates."""
    of_input_last: Float[Tensor, "rows rows"]
    """U of the last one."""
    of_weight: Float[Tensor, "others_rows rows"]
    """V of all but the last."""
    of_weight_last: Float[Tensor, "rows rows"]
    """V of the last one."""
    bias: Float[Tensor, "gates_rows cols"]
    """B of all gates."""


class MatrixRecurrence(SequenceMixer):
    """Gates on matrices; the initial W_0 is learned.

    Parameters start as the released code's: U, V, W_0 from U(-1/sqrt(cols), 1/sqrt(cols)), B = 0.

    Args:
        rows: Rows of W, its input width as a layer's weight.
        cols: Columns of W.
        num_gates: Gates.
    """

    def __init__(self, rows: int, cols: int, num_gates: int) -> None:
        super().__init__()
        check_positive(rows=rows, cols=cols)
        self.input_dim = self.output_dim = rows
        self.cols, self.num_gates = cols, num_gates
        self.of_input = nn.Parameter(torch.empty(num_gates, rows, rows))
        self.of_weight = nn.Parameter(torch.empty(num_gates, rows, rows))
        self.bias = nn.Parameter(torch.empty(num_gates, rows, cols))
        self.initial = nn.Parameter(torch.empty(rows, cols))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1/sqrt(cols); biases zero."""
        bound = self.cols**-0.5
        for parameter in (self.of_input, self.of_weight, self.initial):
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"rows={self.input_dim}, cols={self.cols}"

    def init_state(
        self,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """The learned W_0 in every row; gradient reaches it."""
        place, kind = self._place(device, dtype)
        return self.seed_state(self.initial.to(place, kind).expand(batch, -1, -1))

    def seed_state(self, weight: Float[Tensor, "batch rows cols"]) -> Any:
        """Start from a given W: the identity (a cell state is zero)."""
        raise NotImplementedError

    def readout(self, state: Any) -> Float[Tensor, "batch rows cols"]:
        """W."""
        weight: Tensor = state.weight
        return weight

    def gates(self, *, own: bool = False, dtype: torch.dtype | None = None) -> Gates:
        """The parameters as `step` (or with `own` as `self_step`) uses them.

        A loop of many steps does well to ask once: the gradient of a slice is as large as the
        whole, at every step.
        """
        kind, stacked = dtype or state_dtype(self.initial), self.num_gates * self.input_dim
        of_input, of_weight = self.of_input.to(kind), self.of_weight.to(kind)
        if own:
            of_weight = self._with_input(of_input, of_weight)
        return Gates(
            of_input.reshape(stacked, -1), of_input[-1], of_weight[:-1].flatten(0, 1),
            of_weight[-1], self.bias.to(kind).reshape(stacked, -1),
        )  # fmt: skip

    def step(
        self, x_t: Float[Tensor, "batch rows cols"], state: Any, *, gates: Gates | None = None
    ) -> tuple[Tensor, Any]:
        """One step on the input X.

        Args:
            x_t: X.
            state: Before the step.
            gates: Of `gates()`, where many steps share them.
        """
        self._check_step(x_t, state, self.cols)
        dtype = state.weight.dtype
        with torch.autocast(x_t.device.type, enabled=False):
            gates = self.gates(dtype=dtype) if gates is None else gates
            state = self._update(gates.bias + gates.of_input @ x_t.to(dtype), state, gates)
        return state.weight.to(x_t.dtype), state

    def forward(
        self,
        x: Float[Tensor, "batch time rows cols"],
        state: Any = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        reset: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time rows cols"], Any]:
        """All steps; see `SequenceMixer.forward`."""
        if x.dim() != 4 or tuple(x.shape[2:]) != (self.input_dim, self.cols):
            raise ValueError(
                f"x must be [batch, time, {self.input_dim}, {self.cols}], got {tuple(x.shape)}"
            )
        state, active = self._begin(x, state, lengths=lengths, reset=reset)
        gates = self.gates(dtype=state.weight.dtype)
        outputs, state = loop_steps(
            partial(self.step, gates=gates), mask_steps(x, active).unbind(1), state,
            fresh_state=self.init_state(len(x), x.device, state.weight.dtype),
            active=active, reset=reset,
        )  # fmt: skip
        if not outputs:
            return torch.empty_like(x), state
        return mask_steps(torch.stack(outputs, 1), active), state

    def self_step(self, state: Any, *, gates: Gates | None = None) -> Any:
        """The state after `step(state.weight, state)`: U W + V W is computed as (U + V) W.

        Args:
            state: Before the step.
            gates: Of `gates(own=True)`, where many steps share them.
        """
        self._check_state(state, len(state.weight))
        with torch.autocast(state.weight.device.type, enabled=False):
            if gates is None:
                gates = self.gates(own=True, dtype=state.weight.dtype)
            return self._self_update(state, gates)

    def self_steps(self, state: Any, count: int, *, gates: Gates | None = None) -> Any:
        """The state after `count` times `self_step`.

        Args:
            state: Before the first step.
            count: At least 0.
            gates: Of `gates(own=True)`.
        """
        for _ in range(count):
            state = self.self_step(state, gates=gates)
        return state

    def _with_input(self, of_input: Tensor, of_weight: Tensor) -> Tensor:
        """What multiplies W where W is the input as well."""
        raise NotImplementedError

    def _update(self, of_input: Tensor, state: Any, gates: "Gates") -> Any:
        raise NotImplementedError

    def _self_update(self, state: Any, gates: "Gates") -> Any:
        raise NotImplementedError


class MatrixGRU(MatrixRecurrence):
    """W' = (1 - Z) W + Z N with Z, R = sigmoid(U X + V W + B), N = tanh(U X + V (R W) + B).

    Gates in the order Z, R, N. The cell of EvolveGCN-H, and of -O in the released code.
    """

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__(rows, cols, 3)

    def seed_state(self, weight: Float[Tensor, "batch rows cols"]) -> MatrixGruState:
        """Start from a given W: the identity."""
        return MatrixGruState(weight.to(state_dtype(weight)))

    def self_steps(
        self, state: MatrixGruState, count: int, *, gates: Gates | None = None
    ) -> MatrixGruState:
        """As the base class's loop, with one backward pass for all steps: the gradients of the
        gates' matrices are one product each, not one a step."""
        if count < 2:
            few: MatrixGruState = super().self_steps(state, count, gates=gates)
            return few
        self._check_state(state, len(state.weight))
        with torch.autocast(state.weight.device.type, enabled=False):
            if gates is None:
                gates = self.gates(own=True, dtype=state.weight.dtype)
            batch = len(state.weight)
            last: Tensor = _SelfSteps.apply(  # type: ignore[no-untyped-call]
                state.weight.movedim(0, 1).flatten(1),
                torch.cat([gates.of_weight, gates.of_input_last]),
                gates.of_weight_last,
                gates.bias.repeat(1, batch),
                count,
            )
        return MatrixGruState(last.unflatten(1, (batch, self.cols)).movedim(1, 0))

    def _with_input(self, of_input: Tensor, of_weight: Tensor) -> Tensor:
        return torch.cat([of_input[:2] + of_weight[:2], of_weight[2:]])

    def _update(self, of_input: Tensor, state: MatrixGruState, gates: Gates) -> MatrixGruState:
        w, rows = state.weight, self.input_dim
        z, r = self._sigmoids(of_input[:, : 2 * rows] + gates.of_weight @ w)
        n = torch.tanh(of_input[:, 2 * rows :] + gates.of_weight_last @ (r * w))
        return MatrixGruState(torch.lerp(w, n, z))

    def _self_update(self, state: MatrixGruState, gates: Gates) -> MatrixGruState:
        w, rows = state.weight, self.input_dim
        z, r = self._sigmoids(gates.bias[: 2 * rows] + gates.of_weight @ w)
        n = gates.bias[2 * rows :] + gates.of_input_last @ w + gates.of_weight_last @ (r * w)
        return MatrixGruState(torch.lerp(w, torch.tanh(n), z))

    def _sigmoids(self, total: Tensor) -> tuple[Tensor, Tensor]:
        z, r = torch.sigmoid(total).unflatten(1, (2, self.input_dim)).unbind(1)
        return z, r


class _SelfSteps(torch.autograd.Function):
    """Steps of a GRU that is fed with itself, rows of the batch beside each other as columns.

    W' = (1 - Z) W + Z N from P = M W + B with Z, R = sigmoid(P_z, P_r), N = tanh(P_n + V (R W)).
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, of_self: Tensor, of_reset: Tensor, bias: Tensor, count: int
    ) -> Tensor:
        rows, kept = len(of_reset), []
        for _ in range(count):
            total = torch.addmm(bias, of_self, weight)
            gates = total[: 2 * rows].sigmoid_()
            z, r = gates[:rows], gates[rows:]
            shown = r * weight
            n = torch.addmm(total[2 * rows :], of_reset, shown).tanh_()
            kept += [weight, gates, shown, n]
            weight = torch.lerp(weight, n, z)
        ctx.save_for_backward(of_self, of_reset, *kept)
        return weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        of_self, of_reset, *kept = ctx.saved_tensors
        rows, count = len(of_reset), len(kept) // 4
        # d/dP of all steps beside each other, so that the matrices get one product each
        totals = grad.new_empty(count, 3 * rows, grad.shape[1])
        for step in reversed(range(count)):
            weight, gates, shown, n = kept[4 * step : 4 * step + 4]
            z, r, total = gates[:rows], gates[rows:], totals[step]
            of_z, of_r, of_n = total[:rows], total[rows : 2 * rows], total[2 * rows :]
            through = grad * z
            torch.mul(through, 1 - n * n, out=of_n)
            torch.mul(grad, n - weight, out=of_z)
            of_shown = of_reset.T @ of_n
            torch.mul(of_shown, weight, out=of_r)
            total[: 2 * rows].mul_(gates).mul_(1 - gates)
            grad = (grad - through).addcmul_(of_shown, r).addmm_(of_self.T, total)
        flat = totals.movedim(1, 0).flatten(1)
        weights, shown = (torch.cat(kept[k::4], 1) for k in (0, 2))
        return (
            grad, flat @ weights.T, flat[2 * rows :] @ shown.T, totals.sum(0), None,
        )  # fmt: skip


class MatrixLSTM(MatrixRecurrence):
    """C' = F C + I G, W' = O tanh(C') with F, I, O = sigmoid(U X + V W + B), G = tanh(same).

    Gates in the order F, I, O, G. The cell of EvolveGCN-O in the paper.
    """

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__(rows, cols, 4)

    def seed_state(self, weight: Float[Tensor, "batch rows cols"]) -> MatrixLstmState:
        """Start from a given W; the cell state is zero."""
        weight = weight.to(state_dtype(weight))
        return MatrixLstmState(weight, torch.zeros_like(weight))

    def _with_input(self, of_input: Tensor, of_weight: Tensor) -> Tensor:
        return of_input + of_weight

    def _update(self, of_input: Tensor, state: MatrixLstmState, gates: Gates) -> MatrixLstmState:
        w, rows = state.weight, self.input_dim
        f, i, o = self._sigmoids(of_input[:, : 3 * rows] + gates.of_weight @ w)
        g = torch.tanh(of_input[:, 3 * rows :] + gates.of_weight_last @ w)
        cell = f * state.cell + i * g
        return MatrixLstmState(o * torch.tanh(cell), cell)

    def _self_update(self, state: MatrixLstmState, gates: Gates) -> MatrixLstmState:
        return self._update(gates.bias[None], state, gates)

    def _sigmoids(self, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, i, o = torch.sigmoid(total).unflatten(1, (3, self.input_dim)).unbind(1)
        return f, i, o


def matrix_gru_naive(
    cell: MatrixGRU, x: Float[Tensor, "batch time rows cols"], state: MatrixGruState
) -> tuple[Float[Tensor, "batch time rows cols"], MatrixGruState]:
    """Loop oracle of `MatrixGRU`, gate by gate."""
    (U_z, U_r, U_n), (V_z, V_r, V_n), (B_z, B_r, B_n) = cell.of_input, cell.of_weight, cell.bias
    W, out = state.weight, []
    for X in x.unbind(1):
        Z = torch.sigmoid(U_z @ X + V_z @ W + B_z)
        R = torch.sigmoid(U_r @ X + V_r @ W + B_r)
        N = torch.tanh(U_n @ X + V_n @ (R * W) + B_n)
        W = (1 - Z) * W + Z * N
        out.append(W)
    return torch.stack(out, 1), MatrixGruState(W)


def matrix_lstm_naive(
    cell: MatrixLSTM, x: Float[Tensor, "batch time rows cols"], state: MatrixLstmState
) -> tuple[Float[Tensor, "batch time rows cols"], MatrixLstmState]:
    """Loop oracle of `MatrixLSTM`, gate by gate."""
    (W, C), out = state, []
    for X in x.unbind(1):
        parts = zip(cell.of_input, cell.of_weight, cell.bias, strict=True)
        F, I, O, G = (U @ X + V @ W + B for U, V, B in parts)  # noqa: E741
        C = torch.sigmoid(F) * C + torch.sigmoid(I) * torch.tanh(G)
        W = torch.sigmoid(O) * torch.tanh(C)
        out.append(W)
    return torch.stack(out, 1), MatrixLstmState(W, C)


def summarise(
    nodes: Float[Tensor, "nodes dim"], score: Float[Tensor, " dim"], count: int
) -> Float[Tensor, "count dim"]:
    """The `count` nodes of highest score s = H p / |p|, rows scaled by tanh(s) (EvolveGCN eq. 4-5).

    Fewer nodes than `count`: the lowest of them repeats, as in the released code.

    Raises:
        ValueError: There is no node.
    """
    if not len(nodes):
        raise ValueError("summarise needs at least one node, got none")
    values = nodes @ score / score.norm()
    top = values.topk(min(count, len(nodes))).indices
    top = torch.cat([top, top[-1:].expand(count - len(top))])
    return nodes[top] * torch.tanh(values[top])[:, None]
