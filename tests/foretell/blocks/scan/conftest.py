"""Comparison of a fast scan with its oracle, in values and in every gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree


def _run(scan: Callable[..., Any], inputs: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    leaves, spec = _pytree.tree_flatten(inputs)
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in leaves]
    kept = [x.detach().clone() for x in leaves]
    out = _pytree.tree_leaves(scan(**_pytree.tree_unflatten(leaves, spec)))
    weights = torch.Generator().manual_seed(1)
    loss = sum(
        (x.masked_fill(x == -torch.inf, 0) * torch.randn(x.shape, generator=weights).to(x)).sum()
        for x in out
        if x.is_floating_point()
    )
    wanted = [x for x in leaves if x.requires_grad]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    for leaf, before in zip(leaves, kept, strict=True):
        assert leaf._version == 0 and torch.equal(leaf, before)
    return [x.detach() for x in out], list(grads)


@pytest.fixture(scope="session")
def run_scan() -> Callable[..., tuple[list[Tensor], list[Tensor]]]:
    """Outputs of a scan, and the gradients of a fixed random loss on all of them."""
    return _run


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Two scans give the same outputs, final states and gradients of every input."""

    def check(
        fast: Callable[..., Any],
        oracle: Callable[..., Any],
        inputs: dict[str, Any],
        atol: float = 1e-9,
    ) -> None:
        values, grads = _run(fast, inputs)
        expected, expected_grads = _run(oracle, inputs)
        for value, reference in zip(values, expected, strict=True):
            torch.testing.assert_close(value, reference, atol=atol, rtol=0)
        for value, reference in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(value, reference, atol=10 * atol, rtol=0)

    return check


@pytest.fixture(scope="session")
def make_segment() -> Callable[[int, int, int], Tensor]:
    """Segments with resets at 0 (odd rows), two in a chunk of 16, at its border, and at random."""

    def build(batch: int, time: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        reset = torch.rand(batch, time, generator=generator) < 0.05
        reset[1::2, :1] = True
        for step in (5, 9, 16):
            reset[:, step : step + 1] = True
        return reset.cumsum(1)

    return build
