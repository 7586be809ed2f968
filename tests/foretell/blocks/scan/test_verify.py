"""A scan of the caller's is told from the one that the oracle defines."""

from functools import partial

import pytest
import torch
from jaxtyping import TypeCheckError

from foretell.blocks.scan.backends import LINEAR_SCANS, SOFTMAX_SCANS, SSD_SCANS
from foretell.blocks.scan.chunked import linear_scan, ssd
from foretell.blocks.scan.softmax import softmax_scan
from foretell.blocks.scan.verify import verify_scan

OURS = [
    (kind, name, scan)
    for kind, scans in (("linear", LINEAR_SCANS), ("ssd", SSD_SCANS), ("softmax", SOFTMAX_SCANS))
    for name, scan in scans.items()
]
IDS = [f"{kind}-{name}" for kind, name, _ in OURS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "name", "scan"), OURS, ids=IDS)
def test_our_scans_pass(kind, name, scan, dtype):
    verify_scan(scan, kind, "cpu", dtype=dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "name", "scan"), OURS, ids=IDS)
def test_our_scans_pass_on_a_gpu(kind, name, scan, dtype):
    verify_scan(scan, kind, "cuda", dtype=dtype)


def rescaled(*given, segment):
    o, (m, u, w) = softmax_scan(*given, segment=segment)
    return o, (m + 1, u / torch.e, w / torch.e)


def test_a_carry_of_another_scale_is_the_same_carry():
    verify_scan(rescaled, "softmax", "cpu", dtype=torch.float64)


def forgets_resets(*given, segment):
    return ssd(*given)


def forgets_the_start(log_a, b, h0, *, segment):
    return linear_scan(log_a, b, torch.zeros_like(h0), segment=segment)


def ends_late(x, log_a, B, C, h0, *, segment):
    y, h = ssd(x, log_a, B, C, h0, segment=segment)
    return y, 1.01 * h


def cuts_the_gradient(x, log_a, B, C, h0, *, segment):
    return ssd(x, log_a.detach(), B, C, h0, segment=segment)


def cuts_all(*given, segment):
    y, h = ssd(*given, segment=segment)
    return y.detach(), h.detach()


def overflows(s, v, carry, *, segment):
    m, u, w = carry
    weight = (3 * s).exp().float().to(s)
    lost = 0 * (weight - weight)
    o, after = softmax_scan(s, v, carry, segment=segment)
    return o + lost[..., None], after


def works_in_place(log_a, b, h0, *, segment):
    with torch.no_grad():
        log_a.clamp_(max=0)
    return linear_scan(log_a, b, h0, segment=segment)


def halves(log_a, b, h0, *, segment):
    h, last = linear_scan(log_a, b, h0, segment=segment)
    return h.half(), last


@pytest.mark.parametrize(
    ("scan", "kind", "message"),
    [
        (forgets_resets, "ssd", "y of the ssd scan is wrong at 1 steps with resets"),
        (forgets_the_start, "linear", "the final state of the linear scan is wrong at 0 steps"),
        (ends_late, "ssd", "the final state of the ssd scan is wrong at 0 steps"),
        (cuts_the_gradient, "ssd", "the gradient of log_a of the ssd scan is wrong at 1 steps"),
        (cuts_all, "ssd", "the ssd scan gives no gradients"),
        (overflows, "softmax", "y of the softmax scan is wrong .*extreme values.* error nan"),
        (works_in_place, "linear", "the linear scan changes its input log_a"),
        (halves, "linear", "must be torch.float32 of shape .* got torch.float16"),
        (partial(ssd, window=4), "ssd", "y of the ssd scan is wrong at 37 steps"),
    ],
)
def test_what_differs_is_named(scan, kind, message):
    with pytest.raises(ValueError, match=message):
        verify_scan(scan, kind, "cpu")


def test_other_kinds_and_low_precision_are_refused():
    with pytest.raises((ValueError, TypeCheckError), match="kind"):
        verify_scan(ssd, "sdd", "cpu")
    with pytest.raises(ValueError, match=r"dtype must be .*, got torch.bfloat16"):
        verify_scan(ssd, "ssd", "cpu", dtype=torch.bfloat16)
