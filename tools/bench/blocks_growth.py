"""Growth with length (P8), step latency (P9) and peak memory (P10) of the sequence blocks.

Part of blocks.py, which runs it; `--child LENGTH` prints the memory of SSD as JSON.
"""

import json
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

import torch  # noqa: E402
from blocks_report import (  # noqa: E402
    GROWTH,
    LATENCY,
    MEMORY,
    Report,
    Row,
    forward_backward,
    milliseconds,
    ratio,
)
from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from foretell.blocks import (  # noqa: E402
    GRU,
    LSSL,
    LSTM,
    RNN,
    S4D,
    Aaren,
    ConvGRU,
    ConvLSTM,
    Mamba2,
    MatrixGRU,
    MatrixLSTM,
    MemoryAsContext,
    MemoryAsGate,
    MemoryAsLayer,
    NgramHead,
    PrefixLinearAttention,
    SequenceMixer,
    SlidingWindowAttention,
    TitansMemory,
)
from foretell.blocks.scan.chunked import ssd  # noqa: E402

BATCH, DIM, STATE, HEADS, IDS = 8, 64, 16, 4, 16
PLOT = "blocks_growth.png"
LINEAR, FOURIER, WRAPPED = 5.0, 6.0, 1.15
"""Largest growth from 4,096 to 16,384 steps; of a wrapper over the module that it wraps."""
LATENCY_BAR, MEMORY_BAR, LARGEST_BAR = 1.2, 12.0, 0.5
STEPS = 200
"""Steps of one timing of latency."""


@dataclass(frozen=True)
class Layer:
    """A whole layer of the benchmark."""

    family: str
    make: Callable[[], SequenceMixer]
    space: tuple[int, ...] = (DIM,)
    """Of x, after batch and time."""
    bar: float = LINEAR
    stock: Callable[[], nn.Module] | None = None
    """torch's module that it wraps."""
    ids: bool = False
    """Token ids go with x."""

    def inputs(self, *axes: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Random x [*axes, *space] and what goes with it."""
        ids = {"ids": torch.randint(0, IDS, axes)} if self.ids else {}
        return torch.randn(*axes, *self.space), ids


LAYERS = {
    "RNN": Layer("recurrent", lambda: RNN(DIM, DIM),
                 stock=lambda: nn.RNN(DIM, DIM, batch_first=True)),
    "GRU": Layer("recurrent", lambda: GRU(DIM, DIM),
                 stock=lambda: nn.GRU(DIM, DIM, batch_first=True)),
    "LSTM": Layer("recurrent", lambda: LSTM(DIM, DIM),
                  stock=lambda: nn.LSTM(DIM, DIM, batch_first=True)),
    "ConvGRU, 4 channels of 4 x 4": Layer(
        "recurrent", lambda: ConvGRU(4, 4, spatial_dims=2), space=(4, 4, 4)),
    "ConvLSTM, 4 channels of 4 x 4": Layer(
        "recurrent", lambda: ConvLSTM(4, 4, spatial_dims=2), space=(4, 4, 4)),
    "MatrixGRU, 8 x 8": Layer("recurrent", lambda: MatrixGRU(8, 8), space=(8, 8)),
    "MatrixLSTM, 8 x 8": Layer("recurrent", lambda: MatrixLSTM(8, 8), space=(8, 8)),
    "Mamba-2": Layer("state space", lambda: Mamba2(DIM, STATE)),
    "Mamba-2, window 64": Layer("state space", lambda: Mamba2(DIM, STATE, window=64)),
    "Mamba-2, norm every 32": Layer(
        "state space", lambda: Mamba2(DIM, STATE, max_state_norm=1.0, norm_every=32)),
    "Mamba-2 per channel, expand 1": Layer(
        "state space", lambda: Mamba2(DIM, STATE, expand=1, head_dim=1, per_channel=True)),
    "S4D": Layer("state space", lambda: S4D(DIM, STATE), bar=FOURIER),
    "LSSL": Layer("state space", lambda: LSSL(DIM, STATE), bar=FOURIER),
    "Aaren": Layer("attention", lambda: Aaren(DIM, HEADS)),
    "prefix linear attention, feature dim 4": Layer(
        "attention", lambda: PrefixLinearAttention(DIM, HEADS, feature_dim=4)),
    "sliding window of 64": Layer(
        "attention", lambda: SlidingWindowAttention(DIM, HEADS, window=64)),
    "n-gram head, 16 ids, n = 2": Layer(
        "attention", lambda: NgramHead(DIM, IDS, n=2), ids=True),
    "Titans, chunk 16": Layer("memory", lambda: TitansMemory(DIM, depth=2, chunk_size=16)),
    "Titans, chunk 64": Layer("memory", lambda: TitansMemory(DIM, depth=2, chunk_size=64)),
    "Titans as context, segment 16": Layer("memory", lambda: MemoryAsContext(DIM, HEADS)),
    "Titans as gate, window 64": Layer(
        "memory", lambda: MemoryAsGate(DIM, HEADS, window=64, chunk_size=16)),
    "Titans as layer, window 64": Layer(
        "memory", lambda: MemoryAsLayer(DIM, HEADS, window=64, chunk_size=16)),
}  # fmt: skip


def growth(report: Report, lengths: list[int], turns: int) -> None:
    """P8: every layer at every length, lengths and peers taking turns."""
    for name, layer in LAYERS.items():
        block = layer.make()
        stock = None if layer.stock is None else layer.stock()
        steps = {}
        for length in lengths:
            x, extra = layer.inputs(BATCH, length)
            steps[f"{name} {length}"] = _step(block, x, extra)
            if stock is not None:
                steps[f"nn.{name} {length}"] = _step(stock, x, extra)
        times = milliseconds(timing.take_turns(steps, turns))
        report.times[name] = {length: min(times[f"{name} {length}"]) for length in lengths}
        short = lengths[-1] // 4
        if short not in lengths:
            print(f"{name}: " + _shown(report.times[name]), flush=True)
            continue
        gated = lengths[-1] == 16384
        grown, spread = ratio(times[f"{name} {lengths[-1]}"], times[f"{name} {short}"])
        report.add(
            Row(
                GROWTH, "P8", name, f"{lengths[-1]:,} / {short:,}",
                f"{report.times[name][lengths[-1]]:.1f} ms",
                f"{report.times[name][short]:.1f} ms", grown, spread,
                layer.bar if gated and stock is None else None,
            )
        )  # fmt: skip
        if stock is not None:
            theirs, _ = ratio(times[f"nn.{name} {lengths[-1]}"], times[f"nn.{name} {short}"])
            report.add(
                Row(
                    GROWTH, "P8", f"{name} / nn.{name}", "growth of both", f"{grown:.2f}",
                    f"{theirs:.2f}", grown / theirs, None, WRAPPED if gated else None,
                )
            )  # fmt: skip


def _step(module: nn.Module, x: Tensor, extra: dict[str, Tensor]) -> Callable[[], timing.Seconds]:
    x = x.clone().requires_grad_()
    leaves = [x, *(p for p in module.parameters() if p.numel())]
    return lambda: forward_backward(lambda: module(x, **extra)[0], _used(leaves, module))


def _used(leaves: list[Tensor], module: nn.Module) -> list[Tensor]:
    """Without the encoder of a prefix, which these runs do not have."""
    idle = {id(p) for name, p in module.named_parameters() if name.startswith("encoder_")}
    return [leaf for leaf in leaves if id(leaf) not in idle]


def _shown(times: dict[int, float]) -> str:
    return ", ".join(f"{length:,} steps {ms:.1f} ms" for length, ms in times.items())


@torch.no_grad()
def latency(report: Report, positions: tuple[int, int], turns: int) -> None:
    """P9: a step of one row early and late in its sequence, taking turns."""
    for name, layer in LAYERS.items():
        block = layer.make().eval()
        early, late = (_at(block, layer, position) for position in positions)

        def walk(state: Any, block: SequenceMixer = block, layer: Layer = layer) -> Any:
            x, ids = layer.inputs(STEPS, 1)
            per_step = {key: value.unbind(0) for key, value in ids.items()}

            def run() -> None:
                now = state
                for place, x_t in enumerate(x.unbind(0)):
                    given = {key: values[place] for key, values in per_step.items()}
                    _, now = block.step(x_t, now, **given)

            return lambda: timing.timed(run)

        times = milliseconds(timing.take_turns({"late": walk(late), "early": walk(early)}, turns))
        shown = [f"{min(times[key]) / STEPS * 1e3:.0f} us" for key in ("late", "early")]
        size = f"step {positions[1]:,} / step {positions[0]:,}"
        bar = LATENCY_BAR if positions[1] >= 100_000 else None
        value, spread = ratio(times["late"], times["early"])
        report.add(Row(LATENCY, "P9", name, size, *shown, value, spread, bar))


def _at(block: SequenceMixer, layer: Layer, position: int) -> Any:
    """State of one row after so many steps."""
    state = None
    for start in range(0, position, 1024):
        x, extra = layer.inputs(1, min(1024, position - start))
        _, state = block(x, state, **extra)
    return state


def memory(report: Report, lengths: list[int]) -> None:
    """P10: memory of SSD over that of its inputs, and its largest tensor."""
    for length in lengths:
        found = timing.in_fresh_process(__file__, str(length))
        size, inputs = f"time {length}", found["inputs"]
        # At 1,024 steps the libraries' own buffers are as large as all tensors.
        bars = {"tensors": MEMORY_BAR, "resident set": MEMORY_BAR if length >= 4096 else None}
        for what, bar in bars.items():
            report.add(
                Row(
                    MEMORY, "P10", f"{what} / inputs", size, _mib(found[what]), _mib(inputs),
                    found[what] / inputs, None, bar if length >= 1024 else None,
                )
            )  # fmt: skip
        whole = BATCH * length * DIM * STATE * 4
        report.add(
            Row(
                MEMORY, "P10", "largest tensor / [batch, time, dim, state]", size,
                _mib(found["largest"]), _mib(whole), found["largest"] / whole, None,
                LARGEST_BAR if length >= 1024 else None,
            )
        )  # fmt: skip


def _mib(size: float) -> str:
    return f"{size / timing.MIB:.1f} MiB"


def _child(length: int) -> None:
    """Bytes of SSD in this process, the inputs included."""
    _ssd(64)  # libraries load
    with timing.peak_memory(0.0005) as seen:
        inputs = _ssd(length)
    with _Alive() as alive:
        _ssd(length)
    sizes = {"tensors": alive.peak, "resident set": seen.growth_mib * timing.MIB}
    print(json.dumps({"inputs": inputs, "largest": alive.largest, **sizes}))


def _ssd(length: int) -> int:
    """SSD, forward and backward; bytes of its inputs."""
    leaves = [
        torch.randn(BATCH, length, HEADS, DIM // HEADS),
        -torch.rand(BATCH, length, HEADS),
        torch.randn(BATCH, length, 1, STATE),
        torch.randn(BATCH, length, 1, STATE),
    ]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    h0 = torch.zeros(BATCH, HEADS, DIM // HEADS, STATE)
    out, _ = ssd(leaves[0], leaves[1], leaves[2], leaves[3], h0)
    torch.autograd.grad(out, leaves, torch.ones_like(out))
    return sum(leaf.nbytes for leaf in leaves)


class _Alive(TorchDispatchMode):
    """Counts the bytes of the storages that operations return, until these are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        weakref.finalize(storage, self._free, key, size)
        self.now += size
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)

    def _free(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.now -= size


def draw(times: dict[str, dict[int, float]], path: Path) -> None:
    """Time against length, both axes logarithmic, a panel for each family."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = list(dict.fromkeys(LAYERS[name].family for name in times))
    figure, axes = pyplot.subplots(
        2, 2, figsize=(14, 8), sharex=True, sharey=True, constrained_layout=True
    )
    for axis, family in zip(axes.flat, families, strict=False):
        shown = {name: found for name, found in times.items() if LAYERS[name].family == family}
        for name, found in shown.items():
            axis.plot(list(found), list(found.values()), marker="o", markersize=4, label=name)
        lengths = list(next(iter(shown.values())))
        start = min(found[lengths[0]] for found in shown.values()) / 2
        guide = [start * length / lengths[0] for length in lengths]
        axis.plot(lengths, guide, color="0.5", linestyle="--", linewidth=1, label="linear")
        axis.set(title=family, xscale="log", yscale="log")
        axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axis.minorticks_off()
        axis.grid(color="0.9")
        axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for axis in axes[-1]:
        axis.set_xlabel("steps")
    for axis in axes[:, 0]:
        axis.set_ylabel("forward and backward, CPU ms")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--child"]:
        sys.exit("run blocks.py")
    torch.set_num_threads(1)
    _child(int(sys.argv[2]))
