"""Any sequence block on every cell of a volume, with a convolution that moves content about.

A block on cells alone cannot move anything, and a forecast has to: before every step a convolution
of [P_n | x_n repeated] gathers each cell's neighbourhood. A drop-in for `ConvRecurrence`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree

from foretell.blocks.broadcast_conv import conv3d_with_repeated
from foretell.blocks.checks import check_positive
from foretell.blocks.conv3d import SameConv3d
from foretell.blocks.protocol import SequenceMixer, state_dtype, state_numel
from foretell.blocks.titans import TitansMemory
from foretell.blocks.volume import VolumeMixer


class CellwiseState(NamedTuple):
    """State of a block on the cells of a volume."""

    volume: Float[Tensor, "batch channels depth height width"]
    """What the last step gave, or the seed."""
    inner: Any
    """State of the block; every field [batch, cells, ...]."""


class CellwiseMixer(VolumeMixer):
    """P_{n+1} = mixer.step(conv([P_n | x_n repeated])) on every cell.

    Args:
        mixer: A streamable block; its output is the volume.
        input_dim: Width of the vector of a step.
        kernel_size: Odd edge of the convolution.

    Raises:
        ValueError: The mixer cannot step, or has a neural memory: its state is too large.
    """

    def __init__(self, mixer: SequenceMixer, input_dim: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        if not mixer.streamable:
            raise ValueError(f"{type(mixer).__name__} cannot step, which a volume needs")
        if any(isinstance(part, TitansMemory) for part in mixer.modules()):
            raise ValueError(
                f"{type(mixer).__name__} would keep {state_numel(mixer.init_state(1))} numbers in "
                "every cell, the weights of a neural memory: too many, take another mixer"
            )
        check_positive(input_dim=input_dim)
        self.input_dim, self.output_dim = input_dim, mixer.output_dim
        self.chunk_invariant, self.bounded_state = mixer.chunk_invariant, mixer.bounded_state
        self.gather = SameConv3d(mixer.output_dim + input_dim, mixer.input_dim, kernel_size)
        self.mixer = mixer

    def reset_parameters(self) -> None:
        """Of the convolution and the block."""
        self.gather.reset_parameters()
        self.mixer.reset_parameters()  # type: ignore[operator]

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"channels={self.output_dim}, input_dim={self.input_dim}"

    def seed_state(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> CellwiseState:
        """Start from a volume: the identity; the block starts as `init_state` on every cell."""
        volume, batch = volume.to(state_dtype(volume)), len(volume)
        cells = math.prod(volume.shape[2:])
        inner = self.mixer.init_state(batch * cells, volume.device)
        return CellwiseState(volume, _unfold(inner, batch))

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: CellwiseState
    ) -> tuple[Float[Tensor, "batch channels depth height width"], CellwiseState]:
        """One step of every cell."""
        self._check_step(x_t, state)
        volume = state.volume
        weight, bias = self.gather.weight, self.gather.bias
        seen = conv3d_with_repeated(volume.to(weight.dtype), x_t.to(weight.dtype), weight, bias)
        cells = seen.movedim(1, -1).flatten(0, 3)
        y, inner = self.mixer.step(cells, _pytree.tree_map(lambda t: t.flatten(0, 1), state.inner))
        batch, _, *grid = volume.shape
        after = y.view(batch, *grid, -1).movedim(-1, 1).to(volume.dtype)
        return after.to(x_t.dtype), CellwiseState(after, _unfold(inner, batch))


def cellwise_naive(
    block: CellwiseMixer,
    x: Float[Tensor, "batch time input_dim"],
    state: CellwiseState,
    *,
    oracle: Callable[..., tuple[Tensor, Any]],
) -> tuple[Float[Tensor, "batch time channels depth height width"], CellwiseState]:
    """Loop oracle of `CellwiseMixer`: the whole convolution, then cell by cell.

    Args:
        block: Its parameters.
        x: Inputs.
        state: Where to start.
        oracle: (mixer, x, state) -> (y, state) of the block on the cells.
    """
    volume, grid, out = state.volume, state.volume.shape[2:], []
    cells: list[Any] = [
        _pytree.tree_map(lambda t, cell=cell: t[:, cell], state.inner)
        for cell in range(math.prod(grid))
    ]
    for x_t in x.unbind(1):
        repeated = x_t[:, :, None, None, None].expand(-1, -1, *grid)
        seen = functional.conv3d(
            torch.cat([volume, repeated], 1), block.gather.weight, block.gather.bias,
            padding=block.gather.padding,
        )  # fmt: skip
        answers = [
            oracle(block.mixer, row[:, None], own)
            for row, own in zip(seen.flatten(2).unbind(2), cells, strict=True)
        ]
        cells = [own for _, own in answers]
        volume = torch.stack([y[:, 0] for y, _ in answers], 2).unflatten(2, grid)
        out.append(volume)
    inner = _pytree.tree_map(lambda *fields: torch.stack(fields, 1), *cells)
    return torch.stack(out, 1), CellwiseState(volume, inner)


def _unfold(inner: Any, batch: int) -> Any:
    """Fields [batch * cells, ...] as [batch, cells, ...]."""
    return _pytree.tree_map(lambda t: t.unflatten(0, (batch, -1)), inner)
