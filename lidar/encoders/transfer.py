"""Weights of the 3D backbone on their way into another network, with a report on every key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foretell.errors import UserError
from lidar.sparse.layers import native_layout

Status = Literal["trained", "initial"]
Outcome = Literal["loaded", "initial", "adapted", "missing", "unexpected", "shape_changed"]

OUTCOMES: tuple[Outcome, ...] = (
    "loaded", "adapted", "initial", "missing", "unexpected", "shape_changed",
)  # fmt: skip
INPUT_WEIGHT = "conv_input.0.weight"


@dataclass(frozen=True)
class TransferReport:
    """What became of every key."""

    outcome: dict[str, Outcome]
    """loaded; initial = loaded, but never trained; adapted = loaded after an exact conversion or
    zero padding; missing in the file; unexpected in the file; shape_changed = not loaded."""
    backbone_share: float
    """Convolution weights of the network that now hold trained values, 0..1."""

    def keys(self, outcome: Outcome) -> list[str]:
        """Keys with that outcome, sorted."""
        return sorted(key for key, value in self.outcome.items() if value == outcome)

    def __str__(self) -> str:
        parts = []
        for outcome in OUTCOMES:
            keys = self.keys(outcome)
            if not keys and outcome not in ("loaded", "missing"):
                continue
            named = "" if outcome == "loaded" else _first(keys)
            parts.append(f"{len(keys)} {outcome.replace('_', '-')}{named}")
        share = f"{100 * self.backbone_share:.1f} % of the backbone's convolution weights trained"
        return ", ".join([*parts, share])

    def per_key(self) -> str:
        """One line per key."""
        return "\n".join(f"{value:13s} {key}" for key, value in sorted(self.outcome.items()))


def load_state(
    encoder: nn.Module,
    state: Mapping[str, Tensor],
    status: Mapping[str, str],
    *,
    partial: bool = False,
    adapt_input: Literal["zero_pad", "skip"] = "zero_pad",
) -> TransferReport:
    """Load backbone weights in place.

    Both convolution layouts are read. Residual biases are converted exactly (`convert_bias`).
    Fewer input features than the network's are padded with zeros at the end.

    Args:
        encoder: The network, with VoxelResBackBone8x names.
        state: Weights by name, without prefix.
        status: `trained` or `initial` by name; a name without status counts as trained.
        partial: Accept trained keys that are missing, unexpected or shape-changed.
        adapt_input: zero_pad, or skip = leave the first convolution when its inputs differ.

    Returns:
        The report.

    Raises:
        UserError: If a trained key finds no place and `partial` is off. Initial keys never raise.
    """
    own = encoder.state_dict()
    wants_bias = any(key in own for key in _bias_keys(own))
    converted, adapted = convert_bias(state, bias=wants_bias)
    outcome: dict[str, Outcome] = {}
    fitting: dict[str, Tensor] = {}
    for key, target in own.items():
        if key not in converted:
            outcome[key] = "missing"
            continue
        tensor, padded = _fit(key, converted[key], target, adapt_input)
        if tensor.shape != target.shape:
            outcome[key] = "shape_changed"
            continue
        fitting[key] = tensor
        if status.get(key) == "initial":
            outcome[key] = "initial"
        else:
            outcome[key] = "adapted" if padded or key in adapted else "loaded"
    outcome.update({key: "unexpected" for key in converted if key not in own})
    for key, value in status.items():
        if value == "trained" and key not in state and key not in own:
            outcome[key] = "missing"
    report = TransferReport(outcome, _trained_share(own, outcome))
    failed = [key for key, value in outcome.items() if _fails(key, value, status)]
    if failed and not partial:
        raise UserError(
            f"{len(failed)} trained keys of the backbone do not load{_first(sorted(failed))}: "
            f"{report}; build the network with the widths and inputs of the file, or load what "
            "fits with partial=True"
        )
    encoder.load_state_dict(fitting, strict=False)
    return report


def convert_bias(state: Mapping[str, Tensor], *, bias: bool) -> tuple[dict[str, Tensor], set[str]]:
    """Give residual convolutions a bias, or take it away, exactly in evaluation mode.

    A batch norm follows every one: bn(x W + b) subtracts the running mean, so that to no bias
    running_mean -= b, and to a bias b = 0.

    Args:
        state: Weights by name.
        bias: Whether the result has biases.

    Returns:
        The new weights and the names whose values were changed or made.
    """
    converted, changed = dict(state), set()
    for key in _bias_keys(state):
        if bias and key not in state:
            mean = state[_mean_key(key)]
            converted[key] = torch.zeros_like(mean)
            changed.add(key)
        elif not bias and key in state:
            mean_key = _mean_key(key)
            converted[mean_key] = state[mean_key] - converted.pop(key).to(state[mean_key])
            changed.add(mean_key)
    return converted, changed


def pad_input(
    weight: Float[Tensor, "out_channels kz ky kx known"], in_channels: int
) -> Float[Tensor, "out_channels kz ky kx {in_channels}"]:
    """Zero columns at the end of a convolution's weight for input features that are new."""
    new = weight.new_zeros(*weight.shape[:4], in_channels - weight.shape[4])
    return torch.cat([weight, new], 4)


def _bias_keys(state: Mapping[str, Tensor]) -> list[str]:
    """Names that biases of residual convolutions have, or would have."""
    names = [key.removesuffix("weight") for key, tensor in state.items() if tensor.ndim == 5]
    return [f"{name}bias" for name in names if _mean_key(f"{name}bias") in state]


def _mean_key(bias_key: str) -> str:
    """conv2.1.conv1.bias -> conv2.1.bn1.running_mean."""
    block, convolution, _ = ("." + bias_key).rsplit(".", 2)
    if not convolution.startswith("conv"):
        return ""
    return f"{block}.bn{convolution.removeprefix('conv')}.running_mean".lstrip(".")


def _fit(
    key: str, tensor: Tensor, target: Tensor, adapt_input: Literal["zero_pad", "skip"]
) -> tuple[Tensor, bool]:
    if tensor.ndim != 5 or target.ndim != 5:
        return tensor, False
    tensor = native_layout(tensor, target.shape)
    if (
        key == INPUT_WEIGHT
        and adapt_input == "zero_pad"
        and tensor.shape[:4] == target.shape[:4]
        and tensor.shape[4] < target.shape[4]
    ):
        return pad_input(tensor, target.shape[4]), True
    return tensor, False


def _trained_share(own: Mapping[str, Tensor], outcome: Mapping[str, Outcome]) -> float:
    weights = {key: tensor.numel() for key, tensor in own.items() if tensor.ndim == 5}
    trained = sum(n for key, n in weights.items() if outcome[key] in ("loaded", "adapted"))
    return trained / max(sum(weights.values()), 1)


def _fails(key: str, outcome: Outcome, status: Mapping[str, str]) -> bool:
    if status.get(key) == "initial" or key.endswith("num_batches_tracked"):
        return False
    return outcome in ("missing", "unexpected", "shape_changed")


def _first(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
