"""How the weight of a graph convolution changes from step to step."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.blocks.build import build_mixer
from foretell.blocks.matrix_cells import Gates, MatrixGRU, MatrixLSTM
from foretell.blocks.protocol import SequenceMixer, state_dtype
from graphs.model_config import ModelConfig


class StaticState(NamedTuple):
    """Of a weight that never changes: nothing but the weight."""

    weight: Float[Tensor, "1 rows cols"]


class StaticWeight(nn.Module):
    """One weight for all steps, from U(-2/sqrt(rows), 2/sqrt(rows)) as the released GCN."""

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.empty(rows, cols))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 2/sqrt(rows)."""
        bound = 2 * len(self.initial) ** -0.5
        nn.init.uniform_(self.initial, -bound, bound)

    def init_state(self) -> StaticState:
        """The weight."""
        return StaticState(self.initial[None])

    def prepare(self, *, summarised: bool) -> None:
        """Nothing is shared between steps."""

    def evolve(
        self, state: StaticState, summary: Tensor | None = None, shared: None = None
    ) -> StaticState:
        """The weight as it is now, whatever the optimiser did since `state`."""
        return self.init_state()

    def evolve_alone(self, state: StaticState, count: int, shared: None = None) -> StaticState:
        """As `evolve`, however often."""
        return self.init_state()


class CellWeight(nn.Module):
    """A matrix GRU or LSTM, fed with a summary of the nodes (-H) or with the weight itself (-O)."""

    def __init__(self, cell: MatrixGRU | MatrixLSTM) -> None:
        super().__init__()
        self.cell = cell

    def init_state(self) -> Any:
        """The learned W_0; an LSTM's C_0 is zero, for the paper gives none."""
        return self.cell.init_state(1)

    def prepare(self, *, summarised: bool) -> Gates:
        """The gates' matrices, for all steps of a pass."""
        return self.cell.gates(own=not summarised)

    def evolve(
        self,
        state: Any,
        summary: Float[Tensor, "rows cols"] | None = None,
        shared: Gates | None = None,
    ) -> Any:
        """W_t from W_{t-1}; `shared` is what `prepare` gave."""
        if summary is None:
            return self.cell.self_step(state, gates=shared)
        return self.cell.step(summary[None], state, gates=shared)[1]

    def evolve_alone(self, state: Any, count: int, shared: Gates | None = None) -> Any:
        """`count` steps of -O."""
        return self.cell.self_steps(state, count, gates=shared)


class MixerState(NamedTuple):
    """Of a weight that a sequence block moves."""

    weight: Float[Tensor, "1 rows cols"]
    inner: Any
    """State of the block; its rows are the columns of the weight."""


class MixerWeight(nn.Module):
    """W_t = W_0 + out(y_t): any sequence block over the columns of the weight.

    `out` is zero at first, so that training starts from a static GCN.

    Args:
        rows: Of W, the block's input width.
        cols: Of W, the block's batch.
        mixer: A streamable block of that input width.
        bound: Largest |W_t - W_0| / |W_0| (Frobenius); none = free.
    """

    def __init__(
        self, rows: int, cols: int, mixer: SequenceMixer, *, bound: float | None = None
    ) -> None:
        super().__init__()
        if not mixer.streamable:
            raise ValueError(f"a weight needs a streamable mixer, {type(mixer).__name__} is not")
        self.mixer, self.bound = mixer, bound
        self.initial = nn.Parameter(torch.empty(rows, cols))
        self.out = nn.Linear(mixer.output_dim, rows)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """W_0 uniform within 1/sqrt(cols), `out` zero."""
        bound = self.initial.shape[1] ** -0.5
        nn.init.uniform_(self.initial, -bound, bound)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def init_state(self) -> MixerState:
        """W_0 and the block's own first state."""
        weight = self.initial.to(state_dtype(self.initial))
        return MixerState(weight[None], self.mixer.init_state(weight.shape[1]))

    def prepare(self, *, summarised: bool) -> None:
        """Nothing is shared between steps."""

    def evolve(
        self, state: MixerState, summary: Tensor | None = None, shared: None = None
    ) -> MixerState:
        """W_t from the columns of the summary, or of W_{t-1}."""
        columns = (state.weight[0] if summary is None else summary).T.to(self.initial.dtype)
        y, inner = self.mixer.step(columns, state.inner)
        change = self.out(y).T.to(state.weight.dtype)
        if self.bound is not None:
            largest = self.bound * self.initial.norm()
            change = change * (largest / change.norm().clamp(min=1e-12)).clamp(max=1.0)
        return MixerState((self.initial + change)[None], inner)

    def evolve_alone(self, state: MixerState, count: int, shared: None = None) -> MixerState:
        """`count` steps of -O."""
        for _ in range(count):
            state = self.evolve(state)
        return state


def build_evolution(
    config: ModelConfig, rows: int, cols: int
) -> StaticWeight | CellWeight | MixerWeight:
    """The recurrence of one layer's weight [rows, cols]."""
    if config.version in ("static", "gcn_gru"):
        return StaticWeight(rows, cols)
    match config.resolved_cell:
        case "gru":
            return CellWeight(MatrixGRU(rows, cols))
        case "lstm":
            return CellWeight(MatrixLSTM(rows, cols))
        case "mixer":
            mixer = build_mixer(config.mixer, rows)
            return MixerWeight(rows, cols, mixer, bound=config.mixer_bound)
