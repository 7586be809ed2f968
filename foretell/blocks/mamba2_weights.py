"""Published Mamba-2 weights: state-spaces and Hugging Face write a layer under the same names."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from foretell.blocks.mamba2 import Mamba2

OWN_NAMES = {
    "in_proj.weight": "in_proj.weight",
    "in_proj.bias": "in_proj.bias",
    "conv1d.weight": "conv_weight",
    "conv1d.bias": "conv_bias",
    "dt_bias": "dt_bias",
    "A_log": "log_decay_rate",
    "D": "skip",
    "norm.weight": "norm_weight",
    "out_proj.weight": "out_proj.weight",
    "out_proj.bias": "out_proj.bias",
}
"""Name in the published layers -> ours."""


@dataclass(frozen=True)
class LoadReport:
    """Names in the published layer, without the prefix, sorted."""

    matched: tuple[str, ...]
    """Copied into the block."""
    missing: tuple[str, ...]
    """Wanted by the block and not given: left as they were."""
    unexpected: tuple[str, ...]
    """Given under the prefix, with no place in the block."""


def load_mamba2_weights(
    block: Mamba2, state_dict: Mapping[str, Tensor], *, prefix: str = "", partial: bool = False
) -> LoadReport:
    """Copy a published Mamba-2 layer into a block, in place; nothing is copied on an error.

    Names are those of `mamba_ssm.modules.mamba2.Mamba2` and of `Mamba2Mixer` in transformers. In a
    whole model they stand behind a prefix such as `backbone.layers.0.mixer`.

    Args:
        block: Of the same sizes; the options against state collapse do not matter.
        state_dict: Weights of the layer, or of a model that holds it.
        prefix: What stands before the layer's names, with or without the last dot.
        partial: Accept missing and unexpected names.

    Returns:
        Which names were copied, which were not.

    Raises:
        ValueError: Names are missing or unexpected and `partial` is False, no name matches at all,
            or a shape differs.
    """
    if prefix and not prefix.endswith("."):
        prefix += "."
    given = {
        name.removeprefix(prefix): value
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    own = dict(block.named_parameters())
    wanted = {theirs: own[ours] for theirs, ours in OWN_NAMES.items() if ours in own}
    report = LoadReport(
        tuple(sorted(wanted.keys() & given.keys())),
        tuple(sorted(wanted.keys() - given.keys())),
        tuple(sorted(given.keys() - wanted.keys())),
    )
    if not report.matched:
        ends = "in_proj.weight"
        found = sorted(name.removesuffix(ends) for name in state_dict if name.endswith(ends))
        raise ValueError(
            f"prefix must stand before the names of a Mamba-2 layer, got {prefix!r}; "
            f"layers found behind {found[:4]}"
        )
    if not partial and (report.missing or report.unexpected):
        raise ValueError(
            f"state_dict must hold the names of the block; missing {list(report.missing)}, "
            f"unexpected {list(report.unexpected)} (partial=True accepts both)"
        )
    values = {}
    for name in report.matched:
        value = given[name]
        if name == "conv1d.weight" and value.dim() == 3 and value.shape[1] == 1:
            value = value.squeeze(1)
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{prefix}{name} must have shape {tuple(wanted[name].shape)}, "
                f"got {tuple(value.shape)}"
            )
        values[name] = value
    with torch.no_grad():
        for name, value in values.items():
            wanted[name].copy_(value)
    return report
