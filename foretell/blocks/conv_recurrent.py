"""TREND's recurrence over a feature volume, whose input is a vector per step.

The shared f_3D (TREND 2412.03054, section 3.2, eq. 5): P_{n+1} = f_3D([P_n | A_n repeated]). Gated
drop-ins are in `foretell.blocks.conv_gated`.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.batch_norm import BatchNorm3d, StepBatchNorm3d
from foretell.blocks.broadcast_conv import conv3d_with_repeated, conv3d_with_repeated_naive
from foretell.blocks.checks import check_choice, check_positive
from foretell.blocks.conv3d import SameConv3d
from foretell.blocks.protocol import state_dtype
from foretell.blocks.volume import VolumeMixer

Layers = Literal["conv_bn_relu_conv", "conv_bn_relu"]
Norm = Literal["batch_per_step", "batch", "none"]
Implementation = Literal["fast", "naive"]


class VolumeState(NamedTuple):
    """State of a recurrence over a feature volume."""

    volume: Float[Tensor, "batch channels *spatial"]
    """Current volume."""
    position: Int[Tensor, " batch"]
    """Steps taken."""


class ConvRecurrence(VolumeMixer):
    """P_{n+1} = f_3D([P_n | A_n repeated]), weights shared over the steps (TREND eq. 5).

    Args:
        channels: Channels of the volume.
        input_dim: Width of the step's vector A_n.
        layers: Two convolutions with norm and ReLU between, or one followed by norm and ReLU.
        norm: Batch norm with running statistics for each step, with one set of them, or nothing.
        num_steps: Steps with statistics of their own.
        residual: Add the previous volume to the next.
        implementation: fast adds the repeated vector by border classes; naive concatenates it.
    """

    def __init__(
        self,
        channels: int,
        input_dim: int,
        *,
        layers: Layers = "conv_bn_relu_conv",
        norm: Norm = "batch_per_step",
        num_steps: int = 1,
        residual: bool = False,
        implementation: Implementation = "fast",
    ) -> None:
        super().__init__()
        check_choice("layers", layers, Layers)
        check_choice("norm", norm, Norm)
        check_choice("implementation", implementation, Implementation)
        check_positive(channels=channels, input_dim=input_dim, num_steps=num_steps)
        self.input_dim = input_dim
        self.output_dim = channels
        self.residual = residual
        self.implementation = implementation
        self.conv1 = SameConv3d(channels + input_dim, channels)
        self.norm: nn.Module = nn.Identity()
        match norm:
            case "batch_per_step":
                self.norm = StepBatchNorm3d(channels, num_steps)
            case "batch":
                self.norm = BatchNorm3d(channels)
        two = layers == "conv_bn_relu_conv"
        self.conv2 = SameConv3d(channels, channels) if two else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """PyTorch's defaults for convolutions and batch norm."""
        for module in self.children():
            if isinstance(module, nn.Conv3d | nn.BatchNorm3d | StepBatchNorm3d):
                module.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"channels={self.output_dim}, input_dim={self.input_dim}, residual={self.residual}"

    def step(
        self, x_t: Float[Tensor, "batch input_dim"], state: VolumeState
    ) -> tuple[Float[Tensor, "batch channels d h w"], VolumeState]:
        """One application of f_3D. Convolutions follow autocast, the state does not."""
        self._check_step(x_t, state)
        fast = self.implementation == "fast"
        first = conv3d_with_repeated if fast else conv3d_with_repeated_naive
        weight, bias = self.conv1.weight, self.conv1.bias
        volume = first(state.volume.to(weight.dtype), x_t.to(weight.dtype), weight, bias)
        if isinstance(self.norm, StepBatchNorm3d):
            volume = self.norm(volume, state.position)
        else:
            volume = self.norm(volume)
        volume = torch.relu(volume)
        if self.conv2 is not None:
            volume = self.conv2(volume)
        volume = volume.to(state.volume.dtype)
        if self.residual:
            volume = volume + state.volume
        return volume.to(x_t.dtype), VolumeState(volume, state.position + 1)

    def seed_state(self, volume: Float[Tensor, "batch channels d h w"]) -> VolumeState:
        """Start from a volume: the identity."""
        volume = volume.to(state_dtype(volume))
        return VolumeState(volume, volume.new_zeros(len(volume), dtype=torch.int64))


def conv_recurrence_naive(
    block: ConvRecurrence, x: Float[Tensor, "batch time input_dim"], state: VolumeState
) -> tuple[Float[Tensor, "batch time channels d h w"], VolumeState]:
    """Loop oracle of `ConvRecurrence` in evaluation: concatenate and convolve."""
    (volume, position), out = state, []
    for x_t in x.unbind(1):
        repeated = x_t[:, :, None, None, None].expand(-1, -1, *volume.shape[2:])
        both = torch.cat([volume, repeated], 1)
        value = functional.conv3d(both, block.conv1.weight, block.conv1.bias, padding=1)
        if isinstance(block.norm, StepBatchNorm3d):
            rows = zip(value, position.clamp(max=len(block.norm.steps) - 1).tolist(), strict=True)
            value = torch.stack([block.norm.steps[step](row[None])[0] for row, step in rows])
            value = value * block.norm.weight.view(-1, 1, 1, 1) + block.norm.bias.view(-1, 1, 1, 1)
        elif isinstance(block.norm, BatchNorm3d):
            value = block.norm(value)
        value = value.clamp(min=0)
        if block.conv2 is not None:
            value = functional.conv3d(value, block.conv2.weight, block.conv2.bias, padding=1)
        volume = value + volume if block.residual else value
        position = position + 1
        out.append(volume)
    return torch.stack(out, 1), VolumeState(volume, position)
