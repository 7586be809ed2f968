"""S2IP-LLM's part of the series benchmark: decomposition, forecasts, training steps, memory.

Part of forecast_bench.py, which runs it; `--child` prints the memory of training steps as JSON.
"""

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import timing

timing.one_thread()

import forecast_peer as peer  # noqa: E402
import stages  # noqa: E402
import torch  # noqa: E402
from page import RATIO, Page  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from forecasting.backbone import wrap  # noqa: E402
from forecasting.decomposition import decompose  # noqa: E402
from forecasting.language_model import word_embeddings  # noqa: E402
from forecasting.s2ip import S2IP  # noqa: E402
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig  # noqa: E402

CHANNELS, RATE = 7, 1e-4
DECOMPOSED_ROWS, DECOMPOSITION_AIM = 896, 40.0
EVAL_AIMS = {1: 2.0}
TRAIN_AIMS = {1: 2.5, 4: 1.4}
LARGE_AIM = 1.0
MEMORY_AIM_GB = 0.7
FULL_BATCH = 128
"""Windows of a published step."""
BACKWARD, STEP = "backward", "optimiser"
EVAL_STAGES = (peer.DECOMPOSITION, peer.ANCHORS, peer.REST)
ROW_S, MAP_S = 1.1 / 896, 0.9
OFFICIAL = {"eval": {1: 1.42, 4: 3.39}, "train": {1: 4.31, 4: 7.44}}
"""CPU seconds of the official computation on another machine, by windows of seven channels, one
thread; of these the decomposition of a row and a forward pass of the anchor map."""


@dataclass(frozen=True)
class Shape:
    """Sizes of model and windows; the defaults are those of GPT-2 and the published settings."""

    width: int = 768
    layers: int = 6
    heads: int = 12
    words: int = 50_257
    anchors: int = 1000
    context: int = 512
    horizon: int = 96
    trend_window: int = 96
    season: int = 24

    def config(self, anchor_map: Literal["table", "linear"] = "table") -> S2ipConfig:
        """The network's."""
        return S2ipConfig(
            trend_window=self.trend_window, season=self.season, retrieved=4,
            anchors=AnchorConfig(map=anchor_map, count=self.anchors),
            backbone=BackboneConfig(model="random", layers=self.layers),
        )  # fmt: skip

    def model(self, *, eager: bool = False) -> Any:
        """The language model."""
        return peer.language_model(
            width=self.width, layers=self.layers, heads=self.heads, words=self.words, eager=eager
        )

    def ours(self, anchor_map: Literal["table", "linear"] = "table") -> S2IP:
        """Our network around a language model of its own."""
        config, model = self.config(anchor_map), self.model()
        backbone = (wrap(model, config.backbone), word_embeddings(model))
        return S2IP(self.context, self.horizon, config, backbone=backbone)

    def windows(self, count: int) -> tuple[Tensor, Tensor]:
        """Random walks, context and target."""
        drawing = torch.Generator().manual_seed(count)
        steps = self.context + self.horizon
        walks = torch.randn(count, steps, CHANNELS, generator=drawing).cumsum(1)
        return walks[:, : self.context], walks[:, self.context :]


SMALL = Shape(width=48, layers=2, heads=4, words=200, anchors=20, context=64, horizon=8,
              trend_window=12, season=6)  # fmt: skip


class Twins:
    """Peer and ours with equal weights.

    Args:
        shape: Sizes.
    """

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(0)
        self.shape, self.network, model = shape, shape.ours(), shape.model(eager=True)
        network, config = self.network, self.network.config
        words, blocks = word_embeddings(model), peer.Blocks(model)
        width, horizon = network.head.linear.weight.shape[1], shape.horizon
        self.parts = peer.Parts(
            nn.Linear(3 * config.patch_length, shape.width),
            nn.Linear(len(words), shape.anchors), words, blocks,
            nn.Linear(width, horizon),
        )  # fmt: skip
        assert network.anchors is not None
        with torch.no_grad():
            network.embed.load_state_dict(self.parts.embed.state_dict())
            network.head.linear.load_state_dict(self.parts.out.state_dict())
            network.anchors.table.copy_(self.parts.anchor_map(words.T).T)
        pairs = [
            (network.embed, self.parts.embed), (network.head.linear, self.parts.out),
            (network.blocks, blocks),
        ]  # fmt: skip
        self.shared = [
            (own, other)
            for ours, theirs in pairs
            for own, other in zip(ours.parameters(), theirs.parameters(), strict=True)
            if own.requires_grad
        ]
        """Parameters that both have."""
        self.optimizers = [
            torch.optim.Adam([weight for weight in weights if weight.requires_grad], lr=RATE)
            for weights in (network.parameters(), self.parts.parameters())
        ]

    def train(self, mode: bool) -> None:
        """Dropout on or off."""
        for module in (self.network, self.parts.blocks):
            assert isinstance(module, nn.Module)
            module.train(mode)

    @torch.no_grad()
    def forecast(self, x: Tensor) -> stages.Run:
        """The peer's forecast, by stage."""
        kept = stages.Stages()
        peer.forecast(x, self.parts, self.network.config, stage=kept.stage)
        return kept.run

    def own_forecast(self, x: Tensor) -> stages.Run:
        """Ours."""
        with torch.no_grad():
            return {"all": timing.timed(lambda: self.network(x))}

    def step(self, x: Tensor, y: Tensor) -> stages.Run:
        """The peer's training step, by stage."""
        kept, weight = stages.Stages(), self.network.config.align_weight
        found = peer.forecast(x, self.parts, self.network.config, stage=kept.stage)
        self._learn(kept, self.optimizers[1], peer.loss(found, y, weight))
        return kept.run

    def own_step(self, x: Tensor, y: Tensor) -> stages.Run:
        """Ours."""
        kept = stages.Stages()
        with kept.stage("forward"):
            loss, _ = self.network.loss(x, y)
        self._learn(kept, self.optimizers[0], loss)
        return kept.run

    def _learn(self, kept: stages.Stages, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        with kept.stage(BACKWARD):
            loss.backward()
        with kept.stage(STEP):
            optimizer.step()
            optimizer.zero_grad()

    def differences(self) -> str:
        """How far both are apart on two windows, without dropout.

        Raises:
            AssertionError: By more than rounding.
        """
        self.train(False)
        x, y = self.shape.windows(2)
        found = peer.forecast(x, self.parts, self.network.config)
        loss, _ = self.network.loss(x, y)
        theirs = peer.loss(found, y, self.network.config.align_weight)
        for each in (loss, theirs):
            each.backward()
        gradients = max(_apart(own.grad, other.grad) for own, other in self.shared)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with torch.no_grad():
            forecast = float((self.network(x) - found[0]).abs().max())
        losses = float((loss - theirs).detach().abs() / theirs.detach().abs())
        return (
            f"Largest difference of forecasts of random walks of deviation {float(x.std()):.0f} "
            f"{timing.held(forecast, 1e-2)}, of the loss, relative, {timing.held(losses, 1e-4)}, "
            "of shared weights' gradients, relative to their largest entry, "
            f"{timing.held(gradients, 1e-3)}."
        )


def measure_decomposition(page: Page, shape: Shape, turns: int, *, aims: bool) -> None:
    """Our closed form against pandas, series by series."""
    series = shape.windows(DECOMPOSED_ROWS // CHANNELS)[0].transpose(1, 2).flatten(0, 1)
    sizes = (shape.trend_window, shape.season)
    wanted = torch.from_numpy(peer.pandas_parts(series.numpy(), *sizes))
    apart = timing.held(float((decompose(series, *sizes) - wanted).abs().max()), 1e-3)
    taken = timing.take_turns(
        {
            "peer": partial(timing.timed, lambda: peer.pandas_parts(series.numpy(), *sizes)),
            "ours": partial(timing.timed, lambda: decompose(series, *sizes)),
        },
        turns,
    )
    page.section(
        "Decomposition",
        f"Trend, season and residual of {len(series)} series of {shape.context} steps, windows "
        f"{sizes[0]} and {sizes[1]}; the peer is a loop over series in pandas. Largest difference "
        f"{apart}, of random walks of deviation {float(series.std()):.0f} in float32.",
        RATIO,
    )
    page.ratio(f"{len(series)} series", taken, aim=DECOMPOSITION_AIM if aims else None)


def measure_network(page: Page, shape: Shape, turns: int, largest: int, *, aims: bool) -> None:
    """Forecasts and training steps, then the peer's stages beside the official ones."""
    twins = Twins(shape)
    apart = twins.differences()
    batches = (1, 4)
    taken: dict[tuple[str, int], dict[str, list[stages.Run]]] = {}
    for kind, sizes in (("eval", batches), ("train", (*batches, largest))):
        twins.train(kind == "train")
        for count in sizes:
            x, y = shape.windows(count)
            both = {
                "eval": (partial(twins.forecast, x), partial(twins.own_forecast, x)),
                "train": (partial(twins.step, x, y), partial(twins.own_step, x, y)),
            }[kind]
            steps = dict(zip(("peer", "ours"), both, strict=True))
            taken[kind, count] = timing.take_turns(steps, turns)
    page.section(
        "S2IP-LLM",
        f"GPT-2 of random weights, {shape.width} wide, {shape.layers} blocks, "
        f"{shape.words:,} words, {shape.anchors:,} anchors, 4 retrieved, context {shape.context}, "
        f"horizon {shape.horizon}, windows of {CHANNELS} channels, float32; ours with the table "
        f"of anchors. {apart}",
        RATIO,
    )
    wanted = {"eval": EVAL_AIMS, "train": {**TRAIN_AIMS, largest: LARGE_AIM}}
    for (kind, count), runs in taken.items():
        whole = {name: [stages.total([run]) for run in each] for name, each in runs.items()}
        name = "forecast" if kind == "eval" else "training step"
        aim = wanted[kind].get(count) if aims else None
        page.ratio(f"{name} of {_windows(count)}", whole, aim=aim)
    page.note(_beyond(taken["train", 4], taken["train", largest], largest))
    for kind, count in taken:
        if count in batches:
            _stage_table(page, kind, count, taken[kind, count])


def measure_memory(page: Page, shape: Shape, turns: int, *, aims: bool) -> None:
    """Peak of training steps with the table and with the published map."""
    page.section(
        "Memory of a training step",
        f"Peak of the resident set over two steps of one window, each turn in a fresh process, "
        f"{turns} turns; GB of 10^9 bytes. Weights, gradients and Adam's moments of the map are "
        "0.80 GB, the temporaries of its Adam step the rest.",
        "| anchors | peak GB | linear less table | aim | |",
    )
    peaks: dict[str, list[float]] = {"linear": [], "table": []}
    for _ in range(turns):
        for name, found in peaks.items():
            given = json.dumps({"shape": asdict(shape), "anchor_map": name})
            child = timing.in_fresh_process(__file__, given)
            found.append(child["peak_mib"] * timing.MIB / 1e9)
    less = [more - few for more, few in zip(*peaks.values(), strict=True)]
    met = "met" if statistics.median(less) >= MEMORY_AIM_GB else "missed"
    page.row("linear", timing.show(peaks["linear"]), "-", "-", "")
    page.row("table", timing.show(peaks["table"]), timing.show(less),
             f">= {MEMORY_AIM_GB:g}" if aims else "-", met if aims else "")  # fmt: skip


def memory_of_steps(
    shape: dict[str, Any], anchor_map: Literal["table", "linear"]
) -> dict[str, Any]:
    """Peak of two steps, the second of which has Adam's moments from the start."""
    torch.manual_seed(0)
    sizes = Shape(**shape)
    network, (x, y) = sizes.ours(anchor_map).train(), sizes.windows(1)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=RATE)
    with timing.peak_memory() as memory:
        for _ in range(2):
            network.loss(x, y)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
    return {"peak_mib": memory.peak_mib}


def _stage_table(page: Page, kind: str, count: int, runs: dict[str, list[stages.Run]]) -> None:
    """The peer's stages beside the official ones, which know no finer ones."""
    found = stages.median_of([stages.mean_of([run]) for run in runs["peer"]])
    coarse = {name: found[name] for name in EVAL_STAGES}
    coarse[peer.REST] = sum(found.values()) - coarse[peer.DECOMPOSITION] - coarse[peer.ANCHORS]
    rows = ROW_S * count * CHANNELS
    official = (rows, MAP_S, OFFICIAL[kind][count] - rows - MAP_S)
    name = "forecast" if kind == "eval" else "training step"
    page.section(
        f"Stages of a {name} of {_windows(count)}",
        f"The peer's CPU seconds beside the official computation's on another machine; shares "
        f"apart by more than {stages.OFF:.0%} are marked.",
        stages.HEADER,
    )
    page.rows(stages.shares(coarse, official))
    own = stages.median_of([stages.mean_of([run]) for run in runs["ours"]])
    listed = [("Of the peer's rest", found, (BACKWARD, STEP)), ("Ours", own, tuple(own))]
    for title, of, names in listed:
        if kind == "train":
            shown = ", ".join(f"{each} {of[each]:.3f} s" for each in names)
            page.note(f"{title}: {shown}")


def _beyond(
    few: dict[str, list[stages.Run]], many: dict[str, list[stages.Run]], largest: int
) -> str:
    """What the full batch would take, by the seconds of each further window."""
    cpu = {
        (name, count): statistics.median(stages.total([run]).cpu for run in runs[name])
        for count, runs in ((4, few), (largest, many))
        for name in ("peer", "ours")
    }
    whole = {}
    for name in ("peer", "ours"):
        further = (cpu[name, largest] - cpu[name, 4]) / (largest - 4)
        whole[name] = cpu[name, largest] + (FULL_BATCH - largest) * further
    return (
        f"{FULL_BATCH} windows of {CHANNELS} channels were not run: their activations take more "
        f"memory than there was. By the seconds of every window from 4 to {largest} such a step "
        f"takes the peer {whole['peer']:.0f} s and ours {whole['ours']:.0f} s, "
        f"{whole['peer'] / whole['ours']:.2f} times."
    )


def _apart(own: Tensor | None, other: Tensor | None) -> float:
    assert own is not None and other is not None
    return float((own - other).abs().max() / other.abs().max().clamp(min=1e-12))


def _windows(count: int) -> str:
    return f"{count} window{'s' if count > 1 else ''}"


if __name__ == "__main__":
    if sys.argv[1:2] != ["--child"]:
        sys.exit("run forecast_bench.py")
    torch.set_num_threads(1)
    print(json.dumps(memory_of_steps(**json.loads(sys.argv[2]))))
