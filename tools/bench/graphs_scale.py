"""One epoch of EvolveGCN on a graph of a million nodes and 20 million edges, and what it learned.

    python tools/bench/graphs_scale.py [--nodes 1000000] [--edges 20000000] [--out PAGE]

A random graph with heavy-tailed degrees, in which half of the edges of a step repeat a pair of the
last three steps. EvolveGCN walks along it once; the pairs of every step that is trained on are
positives once each, a part of them in every optimiser step. Weights evolve over a window before
each step: a carried state, replayed from W_0 with the weights that a single epoch ends with, is not
the one that the decoder was trained on. The last step is held out: AP of its pairs against seeded
negatives, of the model and of DecayedPairs, whose settings the step before chose. Wall time, and
peak resident set of the process.
"""

import argparse
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from graphs.baselines.decayed_pairs import DecayedPairs  # noqa: E402
from graphs.config import NegativesConfig  # noqa: E402
from graphs.data.generate import heavy_tailed  # noqa: E402
from graphs.data.snapshots import Snapshot, SnapshotSequence  # noqa: E402
from graphs.evaluation.average_precision import average_precision  # noqa: E402
from graphs.evaluation.negatives import distinct_negatives  # noqa: E402
from graphs.evolvegcn import EvolveGCN  # noqa: E402
from graphs.inputs import InputBuilder, feature_width  # noqa: E402
from graphs.model_config import (  # noqa: E402
    FeatureConfig,
    HeadConfig,
    ModelConfig,
    NetworkConfig,
    StructureConfig,
)
from graphs.network import GraphNetwork  # noqa: E402
from graphs.objectives import LinkObjective  # noqa: E402
from graphs.scorer import LinkPredictor  # noqa: E402
from graphs.structure import Structure  # noqa: E402
from graphs.walk import TrainedLinks  # noqa: E402

Links = TypeVar("Links", bound=LinkPredictor)
MINUTES, GIB = 60.0, 12.0
"""What is aimed at."""
SETTINGS = [(decay, eps) for decay in (0.5, 0.8, 0.95) for eps in (1e-3, 1.0, 30.0)]
"""Of DecayedPairs: decay and eps."""
BLOCK = 1_000_000
"""Pairs scored at a time."""


def main() -> None:
    """Run it, print JSON, write the page."""
    parser = timing.parser(__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--version", choices=["o", "h"], default="o")
    parser.add_argument("--context", type=int, default=2, help="steps of the window beside its own")
    parser.add_argument("--width", type=int, default=32, help="of layers and decoder")
    parser.add_argument("--batches", type=int, default=4, help="optimiser steps of a snapshot")
    parser.add_argument("--negatives", type=float, default=1.0, help="for each positive")
    parser.add_argument("--decays", type=float, nargs="*", default=[0.8], help="pair counts that "
                        "the decoder sees; none = embeddings alone")  # fmt: skip
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="docs/results/graphs_scale.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    timing.print_versions("torch", "numpy", "scipy", threads=args.threads)
    found: dict[str, float] = {}
    watch = timing.Stopwatch()
    sequence = heavy_tailed(args.nodes, args.steps, args.edges // args.steps)
    found["graph_s"] = watch.read().wall
    found["pairs"] = sum(snapshot.num_edges for snapshot in sequence)
    found["largest_degree"] = max(int(one.out_degree.max()) for one in sequence)
    found["graph_peak_gib"] = peak_gib()
    network, builder = build(sequence, args)
    watch = timing.Stopwatch()
    found["positives"] = train_epoch(network, builder, sequence, args)
    seconds = watch.read()
    found |= {"epoch_wall_s": seconds.wall, "epoch_cpu_s": seconds.cpu}
    assert found["positives"] == sum(one.num_edges for one in sequence[1:-1])
    links = _walked(TrainedLinks(network, builder, sequence.num_nodes), sequence[:-1])
    pairs, positive = held_out(sequence)
    found["ap_evolvegcn"] = scored(links, pairs, positive)
    found["peak_gib"] = peak_gib()
    found |= baseline(sequence, pairs, positive)
    print(json.dumps(found), flush=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(_page(found, args))


def build(
    sequence: SnapshotSequence, args: argparse.Namespace
) -> tuple[GraphNetwork, InputBuilder]:
    """EvolveGCN with the cells of the paper, and what makes its inputs."""
    features = FeatureConfig()
    width, columns = feature_width(sequence, features, train_steps=len(sequence) - 1)
    config = NetworkConfig(
        task="link",
        model=ModelConfig(
            version=args.version, hidden_dim=args.width, state="window", context=args.context
        ),
        features=features, head=HeadConfig(hidden_dim=args.width),
        structure=StructureConfig(decays=args.decays), feature_dim=width, columns=columns,
        num_classes=2,
    )  # fmt: skip
    return GraphNetwork(config), InputBuilder(config)


def train_epoch(
    network: GraphNetwork,
    builder: InputBuilder,
    sequence: SnapshotSequence,
    args: argparse.Namespace,
) -> int:
    """Learn the pairs of steps 1 .. the last but one; returns how many positives there were."""
    embedder, config = network.embedder, network.config
    assert isinstance(embedder, EvolveGCN)
    objective = LinkObjective(NegativesConfig(mult=args.negatives, kind="uniform"), config.head, 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=0.0)
    network.train()
    positives = 0
    structure = Structure(config.structure, sequence.num_nodes)
    for t in range(len(sequence) - 2):
        known = structure.advance(sequence[t]) if config.structure.enabled else None
        window = [builder.build(one) for one in sequence[max(0, t - args.context) : t + 1]]
        target = sequence[t + 1]
        watch, losses = timing.Stopwatch(), []
        for keys in _parts(target.pair_keys, args.batches):
            x = network.inputs_of_decoder(embedder(window)[0], known)
            loss = objective.pair_loss(network, x, target, known, keys, keys)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            positives += len(keys)
            losses.append(loss.item())
        print(f"step {t}: loss {losses[0]:.4f} to {losses[-1]:.4f}, {watch.read().wall:.1f} s, "
              f"peak {peak_gib():.2f} GiB", flush=True)  # fmt: skip
    network.eval()
    return positives


def held_out(sequence: SnapshotSequence) -> tuple[Tensor, Tensor]:
    """Pairs of the last step and as many seeded negatives, in order, and which are positive."""
    return _with_negatives(sequence[-1], seed=1)


def _with_negatives(snapshot: Snapshot, *, seed: int) -> tuple[Tensor, Tensor]:
    positives = snapshot.edge_index
    negatives = distinct_negatives(
        positives, num_nodes=snapshot.num_nodes, num=positives.shape[1],
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    pairs = torch.cat([positives, negatives], 1)
    order = (pairs[0] * snapshot.num_nodes + pairs[1]).argsort()
    return pairs[:, order], order < positives.shape[1]


def scored(links: LinkPredictor, pairs: Tensor, positive: Tensor) -> float:
    """AP of a predictor on given pairs."""
    scores = torch.cat([links.pairs(part) for part in pairs.split(BLOCK, dim=1)])
    return average_precision(scores.numpy(), positive.numpy())


def baseline(sequence: SnapshotSequence, pairs: Tensor, positive: Tensor) -> dict[str, float]:
    """AP of DecayedPairs with the settings that are best one step earlier."""
    chosen_on = _with_negatives(sequence[-2], seed=2)
    best = (-1.0, SETTINGS[0])
    for decay, eps in SETTINGS:
        links = _walked(DecayedPairs(sequence.num_nodes, decay, eps), sequence[:-2])
        best = max(best, (scored(links, *chosen_on), (decay, eps)))
    links = _walked(DecayedPairs(sequence.num_nodes, *best[1]), sequence[:-1])
    found = scored(links, pairs, positive)
    return {"ap_decayed_pairs": found, "decay": best[1][0], "eps": best[1][1]}


def _walked(links: Links, sequence: SnapshotSequence) -> Links:
    for snapshot in sequence:
        links.update(snapshot)
    return links


def _parts(keys: Tensor, count: int) -> Iterator[Tensor]:
    """Random parts of the keys, each in ascending order."""
    for part in keys[torch.randperm(len(keys))].chunk(count):
        yield part.sort().values


def peak_gib() -> float:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _page(found: dict[str, float], args: argparse.Namespace) -> str:
    counts = f"{args.decays}" if args.decays else "none"
    rows = [
        ("pairs, both directions", f"{found['pairs']:,.0f}", ""),
        ("largest degree in a step", f"{found['largest_degree']:,.0f}", ""),
        ("positives of the epoch, each once", f"{found['positives']:,.0f}", ""),
        ("epoch, wall minutes", f"{found['epoch_wall_s'] / 60:.1f}", f"<= {MINUTES:g}"),
        ("epoch, CPU minutes", f"{found['epoch_cpu_s'] / 60:.1f}", ""),
        ("peak resident set, GiB", f"{found['peak_gib']:.1f}", f"<= {GIB:g}"),
        (f"held-out AP, EvolveGCN-{args.version.upper()}", f"{found['ap_evolvegcn']:.4f}", ""),
        (
            f"held-out AP, DecayedPairs({found['decay']:g}, {found['eps']:g})",
            f"{found['ap_decayed_pairs']:.4f}",
            "",
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""# Dynamic graphs: a million nodes

`python tools/bench/graphs_scale.py`: {timing.versions("torch", "numpy", "scipy")},
{args.threads} thread(s). {args.nodes:,} nodes, {args.edges:,} edges over {args.steps} steps;
EvolveGCN-{args.version.upper()}, window of {args.context} + 1 steps, width {args.width},
{args.batches} optimiser steps a snapshot, {args.negatives:g} negatives for each positive, decayed
pair counts in the decoder: {counts}.

| what | measured | aim |
|---|---|---|
{table}
"""


if __name__ == "__main__":
    main()
