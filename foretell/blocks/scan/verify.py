"""Is a scan of the caller's, say a fused kernel, the one that its loop oracle defines?"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from foretell.blocks.checks import check_choice
from foretell.blocks.scan.backends import LINEAR_SCANS, SOFTMAX_SCANS, SSD_SCANS

ScanKind = Literal["linear", "ssd", "softmax"]

_SCANS = {"linear": LINEAR_SCANS, "ssd": SSD_SCANS, "softmax": SOFTMAX_SCANS}
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Greatest error, over the greatest value of the oracle where that is above 1."""
_RESETS = [0, 4, 5, 16, 32, 64, 128]
"""At the first step, two in a chunk, at borders of chunks."""
_IDLE = [1, 2, 7, 33]
"""Steps without effect, as padding is."""


def verify_scan(
    fn: Callable[..., Any],
    kind: ScanKind,
    device: torch.device | str,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compare a scan with its loop in `scan.naive`, which runs in float64 on the CPU.

    Small cases, hard on purpose: 0 to 130 steps, an initial state, resets, decays of 1 and e^-60,
    scores of +-50 and -inf, steps without effect. Outputs, final state and the gradients of all
    inputs must agree within 1e-4 of the oracle's greatest value (float64: 1e-9; gradients 10 times
    that). The carry of the softmax may have another scale, (m + c, u e^-c, w e^-c); m is a
    constant for gradients. Inputs must stay as they are.

    Args:
        fn: Scan with the signature of `scan.naive.linear_scan`, `ssd` or `softmax_scan`.
        kind: Which of them.
        device: Where it runs.
        dtype: Of all inputs, float32 or float64: sums and states have at least float32.

    Raises:
        ValueError: It differs, and in what; or another kind or dtype.

    Example:
        >>> from foretell.blocks.scan.chunked import ssd
        >>> verify_scan(ssd, "ssd", "cpu")
        >>> verify_scan(lambda *given, segment: ssd(*given), "ssd", "cpu")
        Traceback (most recent call last):
        ValueError: y of the ssd scan is wrong at 1 steps with resets: greatest error 1.8, ...
    """
    check_choice("kind", kind, ScanKind)
    if dtype not in _TOLERANCE:
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    for where, given, segment in _cases(kind):
        exact = _results(_SCANS[kind]["naive"], kind, where, given, segment)
        given = {name: value.to(device, dtype) for name, value in given.items()}
        found = _results(fn, kind, where, given, None if segment is None else segment.to(device))
        for name, expected in exact.items():
            value = found[name]
            wrong = f"{name} of the {kind} scan is wrong {where}:"
            if value.shape != expected.shape or value.dtype != dtype:
                raise ValueError(
                    f"{wrong} must be {dtype} of shape {tuple(expected.shape)}, got {value.dtype} "
                    f"of shape {tuple(value.shape)}"
                )
            error = (value.cpu().double() - expected).abs().flatten()
            allowed = _TOLERANCE[dtype] * (10 if name.startswith("the gradient") else 1)
            allowed *= max([1.0, *expected.abs().flatten().tolist()])
            if not bool((error <= allowed).all()):  # NaN does not pass
                raise ValueError(f"{wrong} greatest error {error.max():.2g}, allowed {allowed:.2g}")


def _cases(kind: ScanKind) -> Iterator[tuple[str, dict[str, Tensor], Tensor | None]]:
    """Where a case stands, the inputs by name in their order, and the segments."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:  # exact in float32
        return torch.randn(2, *shape, generator=generator).double()

    for time in (0, 1, 37, 130):
        idle = [step for step in _IDLE if step < time]
        for extreme in (False, True):
            log_a = -draw(time, 4).abs()
            if extreme:
                log_a = torch.where(log_a < -1, -60.0, torch.where(log_a > -0.3, 0.0, log_a))
            log_a[:, idle] = 0
            x = draw(time, 4, 3)
            x[:, idle] = 0
            score = draw(time, 4)
            score = 50 * score.sign() if extreme else score
            score[:, idle] = -torch.inf
            given = {
                "linear": {"log_a": log_a, "b": x[..., 0], "h0": draw(4)},
                "ssd": {"x": x, "log_a": log_a, "B": draw(time, 2, 5), "C": draw(time, 2, 5),
                        "h0": draw(4, 3, 5)},
                "softmax": {"s": score, "v": draw(time, 4, 3), "m": draw(4), "u": draw(4).exp(),
                            "w": draw(4, 3)},
            }[kind]  # fmt: skip
            decays = "and extreme values" if extreme else ""
            yield f"at {time} steps {decays}".strip(), given, None
            reset = torch.zeros(2, time, dtype=torch.int64)
            reset[0, [step for step in _RESETS if step < time]] = 1
            reset[1, 16:17] = 1
            yield f"at {time} steps with resets {decays}".strip(), given, reset.cumsum(1)


def _results(
    scan: Callable[..., Any],
    kind: str,
    where: str,
    given: dict[str, Tensor],
    segment: Tensor | None,
) -> dict[str, Tensor]:
    """Outputs, the final state and the gradients of a loss on both, by name."""
    leaves = {name: value.clone().requires_grad_(name != "m") for name, value in given.items()}
    inputs: tuple[Any, ...] = tuple(leaves.values())
    if kind == "softmax":
        inputs = (*inputs[:2], inputs[2:])
    y, end = scan(*inputs, segment=segment)
    for name, leaf in leaves.items():
        if leaf._version or not torch.equal(leaf, given[name]):
            raise ValueError(f"the {kind} scan changes its input {name} {where}")
    results = {"y": y, "the final state": end}
    if kind == "softmax":  # the same for every scale of the carry
        m, u, w = end
        results = {"y": y, "m + log u": m.detach() + u.log(), "w / u": w / u[..., None]}
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    parts = [
        (value * torch.linspace(0.5, 1.5, value.numel()).view_as(value).to(value)).sum()
        for value in results.values()
    ]
    loss = torch.stack(parts).sum()
    if not loss.requires_grad:
        raise ValueError(f"the {kind} scan gives no gradients {where}")
    grads = torch.autograd.grad(
        loss, list(wanted.values()), allow_unused=True, materialize_grads=True
    )
    named = {f"the gradient of {name}": grad for name, grad in zip(wanted, grads, strict=True)}
    return {name: value.detach() for name, value in (results | named).items()}
