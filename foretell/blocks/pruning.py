"""Magnitude pruning of recurrent networks by masks that stay in force while training goes on.

A mask is a parametrization (`torch.nn.utils.parametrize`): the parameter lives on as
`parametrizations.<name>.original`, the module computes with its masked product.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from foretell.blocks.checks import check_choice

Which = Literal["both", "ih", "hh"]
PREFIXES = {
    "both": ("weight_ih_", "weight_hh_"),
    "ih": ("weight_ih_",),
    "hh": ("weight_hh_",),
}


class WeightMask(nn.Module):
    """w -> w where the mask is True, else 0; so is the gradient, exactly.

    Args:
        mask: True where the weight is kept.
        fixed: True where there is a weight at all, none = everywhere. Part of the architecture, so
            not in `state_dict`; no other mask reaches beyond it.
    """

    mask: Bool[Tensor, "*shape"]
    fixed: Bool[Tensor, "*shape"] | None

    def __init__(
        self, mask: Bool[Tensor, "*shape"], fixed: Bool[Tensor, "*shape"] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())
        self.register_buffer("fixed", None if fixed is None else fixed.clone(), persistent=False)

    @property
    def kept(self) -> Bool[Tensor, "*shape"]:
        """Where the weight lives."""
        return self.mask if self.fixed is None else self.mask & self.fixed

    def forward(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        # Not w * mask: a masked weight or gradient that has diverged would leave NaN.
        return weight.masked_fill(~self.kept, 0.0)


def magnitude_masks(
    module: nn.Module, percent: float | int, *, which: Which = "both"
) -> dict[str, Bool[Tensor, "_rows _cols"]]:
    """Keep the weights of largest magnitude: |w| >= the percentile of |w| over all matrices.

    One threshold for all of them (2407.20601), linear interpolation between ranks. A weight equal
    to the threshold is kept, so the largest one survives 100 percent. Biases are never pruned.
    Weights under a mask count as the zeros they are: raise `percent` from call to call, since
    less than the share of zeros keeps everything. Outside a fixed mask (the missing edges of a
    `SparseRecurrent`) there is no weight: nothing counts, nothing is kept.

    Args:
        module: Holds matrices named weight_ih_* and weight_hh_* somewhere, as the recurrent modules
            of torch and of this package do.
        percent: 0 keeps everything.
        which: Input-to-hidden matrices, hidden-to-hidden matrices or both.

    Returns:
        Masks by the name of the weight in the module, True where it is kept.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must lie in [0, 100], got {percent}")
    places = _matrices(module, which)
    magnitudes = {path: getattr(*place).detach().abs().double() for path, place in places.items()}
    exist = {path: _exists(*place) for path, place in places.items()}
    threshold = _percentile(torch.cat([magnitudes[p][exist[p]] for p in places]), percent)
    return {path: (magnitudes[path] >= threshold) & exist[path] for path in places}


def kept_masks(
    module: nn.Module, *, which: Which = "both"
) -> dict[str, Bool[Tensor, "_rows _cols"]]:
    """Masks in force, of the same matrices as `magnitude_masks`; all True where there is none."""
    return {
        path: _exists(*place) if found is None else found.kept.clone()
        for path, place in _matrices(module, which).items()
        for found in [_find_mask(*place)]
    }


def pruned_percent(module: nn.Module, *, which: Which = "both") -> float:
    """Percent of the weights of these matrices that masks have pruned."""
    kept = sum(int(mask.sum()) for mask in kept_masks(module, which=which).values())
    total = sum(int(_exists(*place).sum()) for place in _matrices(module, which).values())
    return 100 * (1 - kept / total)


def _matrices(module: nn.Module, which: Which) -> dict[str, tuple[nn.Module, str]]:
    """Owner and own name of every matrix to prune, by its name in the module."""
    check_choice("which", which, Which)
    found = {
        f"{path}.{name}".lstrip("."): (owner, name)
        for path, owner in module.named_modules()
        for name in _tensor_names(owner)
        if name.startswith(PREFIXES[which])
    }
    if not found:
        names = " or ".join(f"{prefix}*" for prefix in PREFIXES[which])
        raise ValueError(f"module must hold matrices named {names}, got {type(module).__name__}")
    return found


def _exists(owner: nn.Module, name: str) -> Bool[Tensor, "*shape"]:
    """The fixed mask of a weight; all True where there is none."""
    found = _find_mask(owner, name)
    if found is not None and found.fixed is not None:
        return found.fixed
    return torch.ones_like(getattr(owner, name), dtype=torch.bool)


def _percentile(values: Float[Tensor, " values"], percent: float | int) -> Float[Tensor, ""]:
    """Value of rank percent / 100 (n - 1) in the sorted values, between two ranks linearly."""
    values = values.sort().values
    rank = (len(values) - 1) * (percent / 100)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return torch.lerp(values[low], values[high], rank - low)


def apply_masks(
    module: nn.Module, masks: Mapping[str, Bool[Tensor, "..."]], *, fixed: bool = False
) -> None:
    """Mask parameters of the module, in place, until `remove_masks`.

    Optimisers keep working on the same parameters. Adam's weight decay may move the parameter
    behind a masked weight, never the weight. A second call replaces the masks that it names.
    `state_dict`, `copy.deepcopy` and `pickle` keep masks. Masked parameters move to the end of
    `parameters()`; an optimiser's saved state goes by order.

    Args:
        module: Module whose parameters are masked.
        masks: By the parameter's name in the module, True where it is kept.
        fixed: These masks say which weights there are: later masks keep none beyond them and
            `remove_masks` leaves them. For parameters without a mask so far.
    """
    tensors = dict(module.named_parameters(remove_duplicate=False))
    for path, mask in masks.items():
        owner_path, _, name = path.rpartition(".")
        weight = tensors.get(path)
        if weight is None:
            weight = tensors.get(f"{owner_path}.parametrizations.{name}.original".lstrip("."))
        if weight is None:
            raise ValueError(f"masks must name parameters of the module, got {path!r}")
        if fixed and path not in tensors:
            raise ValueError(f"masks must name unmasked parameters if fixed, got {path!r}")
        if mask.shape != weight.shape:
            raise ValueError(
                f"masks must have the shape of the weight, got {tuple(mask.shape)} for {path!r} "
                f"of shape {tuple(weight.shape)}"
            )
    for path, mask in masks.items():
        owner_path, _, name = path.rpartition(".")
        owner = module.get_submodule(owner_path)
        found = _find_mask(owner, name)
        if found is not None:
            found.mask.copy_(mask)
            found.mask.copy_(found.kept)  # none beyond the fixed mask
        else:
            mask = mask.to(getattr(owner, name).device)
            _register(owner, name, WeightMask(mask, mask if fixed else None))


def _register(owner: nn.Module, name: str, mask: WeightMask) -> None:
    parametrize.register_parametrization(owner, name, mask)
    masked_class: Any = type(owner)  # made by torch for this module alone
    masked_class.__deepcopy__, masked_class.__reduce_ex__ = _copy_masked, _reduce_masked


def remove_masks(module: nn.Module) -> None:
    """Make pruned weights permanent: plain parameters again, 0 where they were masked.

    Other parametrizations of the same parameters are made permanent too. Fixed masks stay: the
    weights that they leave are trained again, the others are not there.
    """
    for owner in list(module.modules()):
        for name in _parametrizations(owner):
            found = _find_mask(owner, name)
            if found is not None:
                parametrize.remove_parametrizations(owner, name)
                if found.fixed is not None:
                    _register(owner, name, WeightMask(found.fixed, found.fixed))


def gradual_percent(progress: float, start: float | int, end: float | int) -> float:
    """Percent to prune so far: s = s_end + (s_start - s_end) (1 - progress)^3.

    Cubic schedule of 1710.01878 (to be confirmed against the paper): fast at first, slow at last.

    Args:
        progress: Share of the pruning phase that is over, in [0, 1].
        start: Percent at the start.
        end: Percent at the end.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in [0, 1], got {progress}")
    return end + (start - end) * (1 - progress) ** 3


def _parametrizations(owner: nn.Module) -> dict[str, nn.Module]:
    if not parametrize.is_parametrized(owner):
        return {}
    return dict(owner.parametrizations.items())  # type: ignore[operator, union-attr]


def _tensor_names(owner: nn.Module) -> list[str]:
    """Own parameters, the parametrized ones by the name of the product."""
    return [*dict(owner.named_parameters(recurse=False)), *_parametrizations(owner)]


def _find_mask(owner: nn.Module, name: str) -> WeightMask | None:
    steps = _parametrizations(owner).get(name, nn.Module()).children()
    return next((step for step in steps if isinstance(step, WeightMask)), None)


def _copy_masked(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Deep copy of a masked module, with a class of its own.

    torch's copy shares the class made by `parametrize`, so unmasking one unmasks both; and it
    fails on the masked products that nn.LSTM keeps from its last forward pass.
    """
    attributes = dict(self.__dict__)
    if isinstance(self, nn.RNNBase):
        attributes |= {"_flat_weights": [], "_flat_weight_refs": []}
    masked_class = type(self)
    own_class = type(masked_class.__name__, masked_class.__bases__, dict(masked_class.__dict__))
    replica: nn.Module = object.__new__(own_class)
    memo[id(self)] = replica
    replica.__dict__ = copy.deepcopy(attributes, memo)
    if isinstance(replica, nn.RNNBase):
        replica._init_flat_weights()
    return replica


def _reduce_masked(self: nn.Module, protocol: int) -> tuple[Any, ...]:
    """Pickle a masked module as a plain one and its masks; torch refuses to.

    Its class is made at run time, so no other process could find it.
    """
    steps: dict[str, Any] = _parametrizations(self)
    if any(len(step) != 1 or _find_mask(self, name) is None for name, step in steps.items()):
        raise TypeError("cannot pickle parametrizations other than masks: save the state_dict")
    plain: nn.Module = object.__new__(type(self).__bases__[0])
    plain.__dict__ = dict(self.__dict__)
    plain._modules = {k: v for k, v in self._modules.items() if k != "parametrizations"}
    plain._parameters = self._parameters | {name: step.original for name, step in steps.items()}
    if isinstance(plain, nn.RNNBase):
        plain._init_flat_weights()
    return _restore_masked, (plain, {name: step[0] for name, step in steps.items()})


def _restore_masked(plain: nn.Module, masks: dict[str, WeightMask]) -> nn.Module:
    for name, mask in masks.items():
        _register(plain, name, mask)
    return plain
