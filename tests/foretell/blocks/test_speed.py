"""Speed as ratios, at twice the bars of the benchmark: `tools/bench/blocks.py` measures closely.

CPU times of the process, contestants and lengths taking turns, the smallest of each: other work on
the machine hits both sides alike.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from foretell.blocks import LSTM, S4D
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.softmax import softmax_scan

BATCH, DIM, HEADS, STATE = 8, 64, 4, 16
pytestmark = pytest.mark.soak


def smallest_times(runs: dict[str, Callable[[], Tensor]], turns: int = 5) -> dict[str, float]:
    """CPU seconds of a forward and backward pass."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = time.process_time()
            run().sum().backward()
            if turn:
                best[name] = min(best[name], time.process_time() - start)
    return best


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def decay(*shape: int) -> Tensor:
    return (-0.3 * torch.rand(*shape)).requires_grad_()


def ssd_run(steps: int) -> Callable[[], Tensor]:
    x, log_a = leaf(BATCH, steps, HEADS, DIM // HEADS), decay(BATCH, steps, HEADS)
    B, C = leaf(BATCH, steps, 1, STATE), leaf(BATCH, steps, 1, STATE)
    h0 = torch.zeros(BATCH, HEADS, DIM // HEADS, STATE)
    return lambda: ssd(x, log_a, B, C, h0)[0]


def loop_run(steps: int) -> Callable[[], Tensor]:
    """SSD step by step, nothing formed for all steps."""
    x, log_a = leaf(BATCH, steps, HEADS, DIM // HEADS), decay(BATCH, steps, HEADS)
    B, C = leaf(BATCH, steps, 1, STATE), leaf(BATCH, steps, 1, STATE)

    def run() -> Tensor:
        h, out = torch.zeros(BATCH, HEADS, DIM // HEADS, STATE), []
        for x_t, a_t, B_t, C_t in zip(*(t.unbind(1) for t in (x, log_a.exp(), B, C)), strict=True):
            h = torch.addcmul(x_t[..., None] * B_t[:, :, None], a_t[..., None, None], h)
            out.append((h.flatten(1, 2) @ C_t.mT).view_as(x_t))
        return torch.stack(out, 1)

    return run


def test_p1_chunks_beat_a_parallel_scan_of_every_channel():
    pscan = pytest.importorskip("mambapy.pscan").pscan
    a = torch.rand(BATCH, 1024, DIM, STATE, requires_grad=True)
    b = leaf(BATCH, 1024, DIM, STATE)
    times = smallest_times({"ssd": ssd_run(1024), "pscan": lambda: pscan(a, b)})
    assert times["ssd"] <= times["pscan"] / 4


def test_p4_chunks_beat_a_loop_with_equal_decays():
    times = smallest_times({"ssd": ssd_run(1024), "loop": loop_run(1024)})
    assert times["ssd"] <= 0.6 * times["loop"]


def aaren_run(steps: int) -> Callable[[], Tensor]:
    s, v = leaf(BATCH, steps, HEADS), leaf(BATCH, steps, HEADS, DIM // HEADS)
    zeros = torch.zeros(BATCH, HEADS)
    carry = (torch.full_like(zeros, -torch.inf), zeros, zeros.new_zeros(*zeros.shape, DIM // HEADS))
    return lambda: softmax_scan(s, v, carry)[0]


def s4d_run(steps: int) -> Callable[[], Tensor]:
    block, x = S4D(DIM, STATE), leaf(BATCH, steps, DIM)
    return lambda: block(x)[0]


@pytest.mark.parametrize(("make", "bar"), [(ssd_run, 10), (aaren_run, 10), (s4d_run, 12)])
def test_p8_time_grows_linearly(make, bar):
    times = smallest_times({"4096": make(4096), "16384": make(16384)})
    assert times["16384"] <= bar * times["4096"]


def test_p8_a_wrapper_grows_like_its_module():
    runs = {}
    modules = {"ours": LSTM(DIM, DIM), "torch": nn.LSTM(DIM, DIM, batch_first=True)}
    for name, module in modules.items():
        for steps in (4096, 16384):
            x = leaf(BATCH, steps, DIM)
            runs[f"{name} {steps}"] = lambda module=module, x=x: module(x)[0]
    times = smallest_times(runs)
    growth = {name: times[f"{name} 16384"] / times[f"{name} 4096"] for name in ("ours", "torch")}
    assert growth["ours"] <= 2 * 1.15 * growth["torch"]
