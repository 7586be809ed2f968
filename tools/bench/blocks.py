"""Sequence blocks of ours against public peers: targets P1 to P11, peers taking turns in one run.

    python tools/bench/blocks.py [--out docs/results/blocks_bench.md] [--lengths 1024 4096 16384]

Batch 8, dim 64, state 16; forward and backward on one thread unless said otherwise. A ratio is
ours / peer, smallest CPU time of at least five turns each, after a warm-up; brackets hold the
quartiles of the ratios turn by turn. `--smoke` runs everything at tiny sizes, without bars.
Growth, latency and memory are in blocks_growth.py. mambapy and titans-pytorch are peers only; where
they are absent their rows are left out.
"""

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import timing

timing.one_thread()

import blocks_growth  # noqa: E402
import torch  # noqa: E402
from blocks_report import Report, Times, forward_backward, milliseconds  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from foretell.blocks import LSTM, S4D, TitansMemory  # noqa: E402
from foretell.blocks.scan.chunked import linear_scan, ssd  # noqa: E402
from foretell.blocks.scan.softmax import softmax_scan  # noqa: E402
from foretell.blocks.scan.time_invariant import time_invariant_scan  # noqa: E402

BATCH, DIM, STATE, HEADS = 8, 64, 16, 4
INSTALL = "pip install -c constraints.txt mambapy titans-pytorch"
SQUARE_LIMIT = 1024
"""Steps up to which the masked softmax runs: at 4,096 each of its tensors has 2 GiB."""
SDPA_LIMIT = 4096
"""Steps up to which causal attention runs: half a minute a call beyond."""
PACKED_LIMIT = 4096
"""Steps up to which the packed LSTM runs: 7 s a call there, minutes at 16,384."""
LENGTHS, SMOKE_LENGTHS = [1024, 4096, 16384], [32, 128]
PARTS = ("scans", "softmax", "recurrent", "titans", "growth", "latency", "memory")


@dataclass(frozen=True)
class Run:
    """One contestant."""

    call: Callable[[], Tensor]
    leaves: list[Tensor]
    """Where gradients are taken."""


def main() -> None:
    """Print the rows, write the page."""
    parser = timing.parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--turns", type=int, default=7, help="at least 5")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no bars")
    parser.add_argument("--out", type=Path, help="Markdown page; a picture is put beside it")
    args = parser.parse_args()
    if args.turns < 5:
        parser.error(f"--turns must be at least 5, got {args.turns}")
    lengths = SMOKE_LENGTHS if args.smoke else sorted(args.lengths)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report = Report()
    peers = [name for name in ("mambapy", "titans-pytorch") if _installed(name)]
    versions = timing.versions("torch", *peers)
    timing.print_versions("torch", *peers)
    if len(peers) < 2:
        report.note(f"Rows of peers that are not installed; they are added by `{INSTALL}`.")
    head = f"{versions}, one thread, {args.turns} turns after a warm-up"
    for measure in _measures(report, args, lengths, peers):
        measure()
        if args.out is not None:  # after every part: a run that is cut off leaves what it has
            _write(args.out, report, head)


def _measures(
    report: Report, args: argparse.Namespace, lengths: list[int], peers: list[str]
) -> list[Callable[[], None]]:
    """What `--only` leaves, part by part."""
    parts = {"scans": scans, "softmax": softmax, "recurrent": recurrent}
    found = [
        partial(contest, report, length, args.turns)
        for length in lengths
        for part, contest in parts.items()
        if part in args.only
    ]
    late = 1_000 if args.smoke else 100_000
    whole = {
        "titans": partial(titans, report, lengths[0], args.turns),
        "growth": partial(blocks_growth.growth, report, lengths, args.turns),
        "latency": partial(blocks_growth.latency, report, (100, late), args.turns),
        "memory": partial(blocks_growth.memory, report, lengths[:2]),
    }
    if "titans-pytorch" not in peers:
        del whole["titans"]
    return found + [measure for part, measure in whole.items() if part in args.only]


def scans(report: Report, time: int, turns: int) -> None:
    """P1 to P4 and P11: the linear scans beside each other."""
    x = torch.randn(BATCH, time, HEADS, DIM // HEADS, requires_grad=True)
    decay = (-0.3 * torch.rand(BATCH, time, HEADS)).requires_grad_()
    B, C = (torch.randn(BATCH, time, 1, STATE, requires_grad=True) for _ in range(2))
    heads, h_heads = [x, decay, B, C], torch.zeros(BATCH, HEADS, DIM // HEADS, STATE)
    log_a = (-0.3 * torch.rand(BATCH, time, DIM, STATE)).requires_grad_()
    b = torch.randn(BATCH, time, DIM, STATE, requires_grad=True)
    h_channels = torch.zeros(BATCH, DIM, STATE)
    sequence = torch.randn(BATCH, time, DIM, requires_grad=True)
    lstm, s4d = nn.LSTM(DIM, DIM, batch_first=True), S4D(DIM, STATE)
    loop = "unbind loop with equal decays"
    runs = {
        "SSD": Run(lambda: ssd(x, decay, B, C, h_heads)[0], heads),
        loop: Run(lambda: _ssd_loop(x, decay, B, C, h_heads), heads),
        "nn.LSTM": Run(lambda: lstm(sequence)[0], [sequence, *lstm.parameters()]),
        "per-channel scan": Run(lambda: linear_scan(log_a, b, h_channels)[0], [log_a, b]),
        "S4D": Run(lambda: _s4d_op(s4d, sequence), [sequence, *_core(s4d)]),
        "S4D layer": Run(lambda: s4d(sequence)[0], [sequence, *s4d.parameters()]),
    }
    _check(runs["SSD"], runs[loop])
    pscan = "mambapy pscan"
    if _installed("mambapy"):
        scan = importlib.import_module("mambapy.pscan").pscan
        # The peer takes the decay itself, and is not timed for the exponential that ours includes.
        decays = [log_a.detach().exp().requires_grad_(), b]
        runs[pscan] = Run(lambda: scan(*decays), decays)
        _check(runs["per-channel scan"], runs[pscan], gradients=slice(1, 2))
    times = _contest(runs, turns)
    size = f"time {time}"
    paired = time in (1024, 4096)
    report.compare("P1", times, "SSD", pscan, size=size, unlike=True, at_most=_bar(0.125, paired))
    report.compare("P2", times, "SSD", "nn.LSTM", size=size, unlike=True,
                   at_most=_bar(1.2 if time < 4096 else 1.0, time >= 1024))  # fmt: skip
    report.compare("P3", times, "per-channel scan", pscan, size=size, at_most=_bar(1.0, paired))
    report.compare("P4", times, "SSD", loop, size=size, at_most=_bar(0.3, time >= 1024))
    report.compare("P11", times, "S4D", pscan, size=size, unlike=True, at_most=_bar(0.2, paired))
    report.compare("P11", times, "S4D layer", pscan, size=size, unlike=True)


def softmax(report: Report, time: int, turns: int) -> None:
    """P5: the prefix softmax with one query a head, beside attention with a query a step."""
    scores = (2 * torch.randn(BATCH, time, HEADS)).requires_grad_()
    values = torch.randn(BATCH, time, HEADS, DIM // HEADS, requires_grad=True)
    zeros = torch.zeros(BATCH, HEADS)
    carry = (torch.full_like(zeros, -torch.inf), zeros, zeros.new_zeros(*zeros.shape, DIM // HEADS))
    ours, masked, loop, sdpa = "Aaren", "masked softmax", "unbind step loop", "causal SDPA"
    runs = {
        ours: Run(lambda: softmax_scan(scores, values, carry)[0], [scores, values]),
        loop: Run(lambda: _softmax_loop(scores, values, carry), [scores, values]),
    }
    _check(runs[ours], runs[loop])
    if time <= SQUARE_LIMIT:
        causal = torch.ones(time, time, dtype=torch.bool).tril()
        runs[masked] = Run(lambda: _masked_softmax(scores, values, causal), [scores, values])
        _check(runs[ours], runs[masked])
    else:
        report.note(f"{masked} at {time:,} steps: quadratic, {8 * HEADS * time**2 * 4 / 2**30:.0f} "
                    "GiB a tensor.")  # fmt: skip
    if time <= SDPA_LIMIT:
        q, k, v = (
            torch.randn(BATCH, HEADS, time, DIM // HEADS, requires_grad=True) for _ in range(3)
        )
        runs[sdpa] = Run(
            lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v]
        )
    else:
        report.note(f"{sdpa} at {time:,} steps: quadratic, too slow.")
    times = _contest(runs, turns)
    size = f"time {time}"
    report.compare("P5", times, ours, masked, size=size, at_most=_bar(0.125, time == 1024))
    report.compare("P5", times, ours, loop, size=size, at_most=_bar(0.25, time >= 1024))
    report.compare("P5", times, ours, sdpa, size=size, unlike=True)


def recurrent(report: Report, time: int, turns: int) -> None:
    """P6: our LSTM on whole and on ragged rows beside torch's, padded and packed."""
    block, stock = LSTM(DIM, DIM), nn.LSTM(DIM, DIM, batch_first=True)
    stock.load_state_dict(block.core.state_dict())
    x = torch.randn(BATCH, time, DIM, requires_grad=True)
    lengths = torch.randint(1, time + 1, (BATCH,), generator=torch.Generator().manual_seed(0))
    lengths[0] = time

    def packed() -> Tensor:
        rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(stock(rows)[0], batch_first=True, total_length=time)
        return y

    ours, theirs = [x, *block.parameters()], [x, *stock.parameters()]
    runs = {
        "LSTM": Run(lambda: block(x)[0], ours),
        "nn.LSTM": Run(lambda: stock(x)[0], theirs),
        "ragged LSTM": Run(lambda: block(x, lengths=lengths)[0], ours),
    }
    _check(runs["LSTM"], runs["nn.LSTM"])
    if time <= PACKED_LIMIT:
        runs["packed nn.LSTM"] = Run(packed, theirs)
        _check(runs["ragged LSTM"], runs["packed nn.LSTM"])
    else:
        report.note(f"packed nn.LSTM at {time:,} steps: minutes a call.")
    times = _contest(runs, turns)
    times["padded nn.LSTM"] = times["nn.LSTM"]
    size, barred = f"time {time}", time >= 1024
    report.compare("P6", times, "LSTM", "nn.LSTM", size=size, at_most=_bar(1.15, barred))
    report.compare("P6", times, "ragged LSTM", "packed nn.LSTM", size=size,
                   at_most=_bar(0.4, barred))  # fmt: skip
    report.compare("P6", times, "ragged LSTM", "padded nn.LSTM", size=size,
                   at_most=_bar(1.6, barred))  # fmt: skip


def titans(report: Report, time: int, turns: int) -> None:
    """P7: whole layers with a memory of two matrices of 64 x 64.

    The peer means the loss over the width and forgets once a chunk. With `batch_size` it takes
    gradients at each chunk's start, as ours; by default all at the memory before the call, which is
    cheaper and another rule. The bar is held against both.
    """
    memory = importlib.import_module("titans_pytorch").NeuralMemory
    x = torch.randn(BATCH, time, DIM, requires_grad=True)
    for chunk_size, at_most in ((64, 1.1), (16, 0.5)):
        block = TitansMemory(DIM, depth=2, chunk_size=chunk_size)
        options = {"chunk_size": chunk_size, "default_model_kwargs": {"depth": 2,
                   "expansion_factor": 1.0}}  # fmt: skip
        plain, chunked = memory(DIM, **options), memory(DIM, batch_size=chunk_size, **options)
        ours, peer, first_start = "Titans", "titans-pytorch", "titans-pytorch, no batch_size"
        runs = {
            ours: Run(lambda block=block: block(x)[0], [x, *block.parameters()]),  # type: ignore[misc]
            peer: Run(lambda m=chunked: m(x)[0], [x, *_used(chunked, x)]),  # type: ignore[misc]
            first_start: Run(lambda m=plain: m(x)[0], [x, *_used(plain, x)]),  # type: ignore[misc]
        }
        times = _contest(runs, turns)
        size = f"time {time}, chunk {chunk_size}"
        for other in (peer, first_start):
            report.compare("P7", times, ours, other, size=size, unlike=True,
                           at_most=_bar(at_most, time == 1024))  # fmt: skip


def _core(block: S4D) -> list[Tensor]:
    return [block.log_decay, block.frequency, block.log_dt, block.C]


def _s4d_op(block: S4D, x: Tensor) -> Tensor:
    """S4D without D and the map across channels."""
    system = block._system(min(x.shape[1], block.block_size), x.dtype)
    y: Tensor = time_invariant_scan(x, torch.zeros(len(x), DIM, STATE), system)[0]
    return y


def _used(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Parameters that the output depends on; the peer holds others."""
    parameters = list(module.parameters())
    grads = torch.autograd.grad(module(x[:, :64])[0].sum(), parameters, allow_unused=True)
    return [p for p, grad in zip(parameters, grads, strict=True) if grad is not None]


def _ssd_loop(x: Tensor, log_a: Tensor, B: Tensor, C: Tensor, h: Tensor) -> Tensor:
    """SSD step by step: one decay for all channels of a head, nothing formed for all steps."""
    out = []
    for x_t, a_t, B_t, C_t in zip(*(t.unbind(1) for t in (x, log_a.exp(), B, C)), strict=True):
        h = torch.addcmul(x_t[..., None] * B_t[:, :, None], a_t[..., None, None], h)
        out.append((h.flatten(1, 2) @ C_t.mT).view_as(x_t))
    return torch.stack(out, 1)


def _softmax_loop(scores: Tensor, values: Tensor, carry: tuple[Tensor, ...]) -> Tensor:
    """Prefix softmax step by step."""
    m, u, w = carry
    out = []
    for s_t, v_t in zip(scores.unbind(1), values.unbind(1), strict=True):
        top = torch.maximum(m, s_t.detach())
        old, new = (m - top).exp(), (s_t - top).exp()
        m, u, w = top, u * old + new, w * old[..., None] + v_t * new[..., None]
        out.append(w / u[..., None])
    return torch.stack(out, 1)


def _masked_softmax(scores: Tensor, values: Tensor, causal: Tensor) -> Tensor:
    """Prefix softmax as a matrix of all pairs of steps."""
    pairs = scores.transpose(1, 2)[:, :, None].masked_fill(~causal, -torch.inf)
    averages: Tensor = pairs.softmax(-1) @ values.transpose(1, 2)
    return averages.transpose(1, 2)


def _contest(runs: dict[str, Run], turns: int) -> Times:
    def step(run: Run) -> Callable[[], timing.Seconds]:
        return lambda: forward_backward(run.call, run.leaves)

    return milliseconds(timing.take_turns({name: step(run) for name, run in runs.items()}, turns))


def _check(ours: Run, peer: Run, gradients: slice = slice(None)) -> None:
    """Both give the same numbers before their times are compared."""
    results = []
    for run in (ours, peer):
        out = run.call()
        grads = torch.autograd.grad(out, run.leaves, torch.ones_like(out))
        results.append([out.detach(), *grads[gradients]])
    for mine, theirs in zip(*results, strict=True):
        bound = 1e-3 * max(1.0, float(theirs.abs().max()))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=bound)


def _bar(at_most: float, applies: bool) -> float | None:
    return at_most if applies else None


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(out: Path, report: Report, versions: str) -> None:
    plot = blocks_growth.PLOT if report.times else None
    head = (
        f"`python tools/bench/blocks.py`: {versions}. Batch {BATCH}, dim {DIM}, state {STATE}, "
        f"{HEADS} heads, float32, unless a row says otherwise; forward and backward.\n\n"
        "Peer and ours take turns in one process. A ratio is ours / peer, below 1 ours is faster: "
        "smallest CPU\ntime of each; brackets hold the quartiles of the ratios turn by turn. "
        "Compare ratios, not times."
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report.page(head, plot))
    if plot is not None:
        blocks_growth.draw(report.times, out.parent / plot)
    print(f"written to {out}", flush=True)


if __name__ == "__main__":
    main()
