"""Batch norm whose statistics are those of the batches of all processes together.

torch's `SyncBatchNorm` is for CUDA alone and refuses what a process of a sparse model may have: one
value or none. These classes are torch's own with a switch; names of weights and buffers stay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn


class JointBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm that can train on the joint batch; a mixin before a batch norm of torch.

    With `across_processes` on, outputs, gradients summed over the processes and running statistics
    are those of one process with all their values. Every process of the default group must then
    call the layer equally often, forward and backward, whatever it has to give. By default a
    process is on its own.
    """

    across_processes: bool = False

    @property
    def joint(self) -> bool:
        """Whether a forward pass now meets those of other processes."""
        return self.training and self.across_processes and num_processes() > 1

    def forward(
        self, input: Float[Tensor, "batch channels *space"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Normalise each channel."""
        if not self.joint:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        y, mean, var, count = _Normalise.apply(values, self.eps)  # type: ignore[no-untyped-call]
        self._track(mean, var, count)
        if self.weight is not None:
            y = y * _per_channel(self.weight, y) + _per_channel(self.bias, y)
        normalised: Tensor = y.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _track(
        self, mean: Float[Tensor, " channels"], var: Float[Tensor, " channels"], count: Tensor
    ) -> None:
        """Move the running statistics; the unbiased variance of one value is undefined."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(count > 0)
        momentum: Tensor | float = (
            1 / self.num_batches_tracked.clamp(min=1).to(mean.dtype)
            if self.momentum is None  # PyTorch: cumulative average
            else self.momentum
        )
        unbiased = var * count / (count - 1).clamp(min=1)
        for running, now, known in (
            (self.running_mean, mean, count > 0),
            (self.running_var, unbiased, count > 1),
        ):
            running.lerp_(now.to(running.dtype), (known.to(now.dtype) * momentum).to(running.dtype))


class BatchNorm3d(JointBatchNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` that can train on the joint batch of all processes."""


class StepBatchNorm3d(nn.Module):
    """Batch norm of a layer shared by all steps of a recurrence, running statistics for each step.

    Training normalises every step by its own batch. One set of running statistics would mix the
    steps' distributions and fit none of them in evaluation; weight and bias are shared.

    Args:
        channels: Of the volume.
        num_steps: Steps with statistics of their own; later ones use the last.
    """

    def __init__(self, channels: int, num_steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(BatchNorm3d(channels, affine=False) for _ in range(num_steps))
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Identity, and fresh statistics."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        for step in self.steps:
            assert isinstance(step, BatchNorm3d)
            step.reset_parameters()

    def forward(
        self, input: Float[Tensor, "batch channels d h w"], position: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels d h w"]:
        """Normalise each row by the statistics of its step.

        Args:
            input: Values.
            position: Steps that each row has taken before.
        """
        position = position.clamp(max=len(self.steps) - 1)
        if torch.compiler.is_compiling() and not self.training:
            return self._gathered(input, position)
        reached = position.unique().tolist()
        y: Tensor
        if len(reached) == 1:
            y = self.steps[reached[0]](input)
        else:
            y = torch.empty_like(input)
            for step in reached:
                rows = position == step
                y[rows] = self.steps[step](input[rows])
        scaled: Tensor = y * _per_channel(self.weight, y) + _per_channel(self.bias, y)
        return scaled

    def _gathered(self, input: Tensor, position: Tensor) -> Tensor:
        """Evaluation in one graph, which cannot branch on where the rows stand."""
        means, variances = (
            torch.stack([step.get_buffer(name) for step in self.steps])
            for name in ("running_mean", "running_var")
        )
        first = self.steps[0]
        assert isinstance(first, BatchNorm3d)
        mean, scale = means[position], (variances + first.eps).rsqrt()[position]
        y = (input - mean[..., None, None, None]) * scale[..., None, None, None]
        return y * _per_channel(self.weight, y) + _per_channel(self.bias, y)


def num_processes() -> int:
    """Processes of the default group; 1 without one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def set_across_processes(model: nn.Module, across: bool) -> None:
    """Switch every batch norm of a model that can train on the joint batch."""
    for module in model.modules():
        if isinstance(module, JointBatchNorm):
            module.across_processes = across


def is_joint(model: nn.Module) -> bool:
    """Whether a forward pass of the model now meets those of other processes."""
    return any(isinstance(module, JointBatchNorm) and module.joint for module in model.modules())


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """No batch norm of the model waits for other processes in here."""
    norms = [module for module in model.modules() if isinstance(module, JointBatchNorm)]
    before = [norm.across_processes for norm in norms]
    set_across_processes(model, False)
    try:
        yield
    finally:
        for norm, across in zip(norms, before, strict=True):
            norm.across_processes = across


class _Normalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) with moments over all processes.

    Every x reaches every y through them: with sums over all processes and N values in all,
    dL/dx = (g - sum(g) / N - y sum(g y) / N) / sqrt(var + eps), g = dL/dy (1502.03167, section 3).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = _joint_moments(x)
        scale = (var + eps).rsqrt()
        y = (x - _per_channel(mean, x)) * _per_channel(scale, x)
        ctx.save_for_backward(y, scale, count)
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        y, scale, count = ctx.saved_tensors
        sums = torch.stack([grad.sum(_axes(y)), (grad * y).sum(_axes(y))])
        distributed.all_reduce(sums)
        shift, slope = (sums / count.clamp(min=1)).unbind()
        centred = grad - _per_channel(shift, y) - y * _per_channel(slope, y)
        return centred * _per_channel(scale, y), None


def _joint_moments(
    x: Float[Tensor, "batch channels *space"],
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"], Float[Tensor, ""]]:
    """Mean, biased variance and number of the values of all processes.

    The processes' own moments are merged (Chan et al. 1979), which loses no digits where the mean
    is far from zero, as sums of squares do.
    """
    channels = x.shape[1]
    own = x.new_zeros(2 * channels + 1)
    if x.numel():
        var, mean = torch.var_mean(x, _axes(x), correction=0)
        own = torch.cat([mean, var, own.new_full((1,), x.numel() // channels)])
    every = [torch.empty_like(own) for _ in range(num_processes())]
    distributed.all_gather(every, own)
    means, variances, counts = torch.stack(every).split([channels, channels, 1], dim=1)
    count = counts.sum()
    shares = counts / count.clamp(min=1)
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), count


def _axes(x: Tensor) -> list[int]:
    """All axes but the channels'."""
    return [axis for axis in range(x.ndim) if axis != 1]


def _per_channel(values: Float[Tensor, " channels"], like: Tensor) -> Tensor:
    """Values that broadcast over the channels of `like`."""
    return values.view(-1, *[1] * (like.ndim - 2))
