"""The all-pairs test step of Bitcoin OTC, 34.6 million pairs: scoring, metrics, memory.

Part of graphs_bench.py, which runs it; `--child` prints the memory of one step as JSON.
"""

import json
import math
import sys
from dataclasses import asdict
from typing import Any

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from graphs_ours import Ours, check_metrics  # noqa: E402
from graphs_peer import (  # noqa: E402
    Peer,
    Setting,
    average_precision,
    mean_reciprocal_rank,
)
from graphs_raw import RawEdges, stand_in  # noqa: E402
from page import RATIO, Page, Taken  # noqa: E402
from torch import Tensor  # noqa: E402

from graphs.evaluation.all_pairs import all_pairs_metrics  # noqa: E402

METRICS_LIMIT_S, SCORING_LIMIT_S = 3.0, 18.0
BLOCK_PAIRS = 1 << 20


class Given:
    """Scores that are there already."""

    def __init__(self, scores: Tensor) -> None:
        self.scores, self.num_nodes = scores, len(scores)

    def rows(self, start: int, stop: int) -> Tensor:
        """Part of them."""
        return self.scores[start:stop]

    def pairs(self, pairs: Tensor) -> Tensor:
        """Those of given pairs."""
        return self.scores[pairs[0], pairs[1]]


def measure(
    page: Page, raw: RawEdges, setting: Setting, step: int, *, turns: int, chunks: int, limits: bool
) -> None:
    """Scoring, and metrics given scores, each beside the peer.

    Args:
        page: Takes the rows.
        raw: Edges.
        setting: Hyperparameters.
        step: The test step.
        turns: Of everything.
        chunks: Of the peer's pairs that are scored; 0 = all.
        limits: Hold ours to the seconds aimed at.
    """
    peer, ours = Peer(raw, setting), Ours(raw, setting)
    peer.epoch(range(setting.context, setting.context + 3))  # away from the start
    ours.take_weights(peer)
    links = ours.before(step)
    links.update(ours.sequence[step])
    sample = peer.sample(step, all_pairs=True)
    pairs = sample.pairs
    total = math.ceil(pairs.shape[1] / setting.chunk)
    few = total if chunks == 0 else min(chunks, total)
    with torch.no_grad():
        nodes = peer.embed(sample)
        scored = timing.take_turns(
            {
                "peer": lambda: timing.timed(
                    lambda: peer.decode(nodes, pairs[:, : few * setting.chunk])
                ),
                "ours": lambda: timing.timed(lambda: _all_rows(links)),
            },
            turns,
        )
    scores, positives = _all_rows(links), ours.sequence[step + 1].edge_index
    counted, found = _metrics(scores, positives, pairs, turns)
    # Scores without any order: as many pairs above the positives as below.
    anyhow, _ = _metrics(torch.rand_like(scores), positives, pairs, turns)
    part = "" if few == total else f" (of the peer, {few} of {total} chunks, scaled)"
    page.section(
        f"All pairs of a step, {raw.name}",
        f"-O, {raw.num_nodes**2:,} pairs, decoder width {setting.decoder_width}, "
        f"{positives.shape[1]} positives. AP {found['ours'][0]:.3e} and MRR "
        f"{found['ours'][1]:.6f}; the peer, whose tied ranks are arbitrary, {found['peer'][0]:.3e} "
        f"and {found['peer'][1]:.6f}.",
        RATIO,
    )
    page.ratio(
        f"scores{part}", scored, scale=pairs.shape[1] / min(few * setting.chunk, pairs.shape[1])
    )
    page.ratio("metrics given scores", counted)
    page.ratio("metrics given random scores", anyhow)
    page.section("The same in seconds", "Ours, one thread.", "| what | CPU s | at most | |")
    page.at_most("scores, once", scored["ours"], SCORING_LIMIT_S if limits else None)
    for what, taken in (("scores", counted), ("random scores", anyhow)):
        page.at_most(f"metrics given {what}", taken["ours"], METRICS_LIMIT_S if limits else None)
    page.section(
        "Memory of the step",
        "Growth of the resident set over scores, AP and MRR, each in a fresh process; scores that "
        "are not kept are made twice.",
        "| scores | growth | CPU s | all scores as float32 |",
    )
    for kept in (True, False):
        edges = max(raw.num_nodes, len(raw.source) // raw.num_steps * (setting.context + 3))
        given = json.dumps(
            {"nodes": raw.num_nodes, "edges": edges, "setting": asdict(setting), "kept": kept}
        )
        child = timing.in_fresh_process(__file__, given)
        page.row(
            "kept" if kept else "not kept", f"{child['growth_mib']:.0f} MiB", f"{child['cpu']:.2f}",
            f"{4 * raw.num_nodes**2 / timing.MIB:.0f} MiB",
        )  # fmt: skip


def _metrics(
    scores: Tensor, positives: Tensor, pairs: Tensor, turns: int
) -> tuple[Taken, dict[str, tuple[float, float]]]:
    """Times of AP and MRR given scores, and their values, by who computed them."""
    nodes = len(scores)
    labels = np.zeros(pairs.shape[1], np.int64)
    labels[: positives.shape[1]] = 1
    flat, places = scores[pairs[0], pairs[1]].numpy(), pairs.numpy()
    found: dict[str, tuple[float, float]] = {}

    def theirs() -> None:
        mrr = mean_reciprocal_rank(flat, labels, places, nodes)
        found["peer"] = (average_precision(flat, labels), mrr)

    def own() -> None:
        metrics = all_pairs_metrics(Given(scores), positives, block_pairs=BLOCK_PAIRS)
        found["ours"] = (metrics.ap, metrics.mrr)

    taken = timing.take_turns(
        {"peer": lambda: timing.timed(theirs), "ours": lambda: timing.timed(own)}, turns
    )
    check_metrics(found["peer"], Given(scores), positives)
    return taken, found


def _all_rows(links: Any) -> Tensor:
    """All scores, in the blocks of rows that the metrics ask for."""
    nodes = links.num_nodes
    rows = max(1, BLOCK_PAIRS // nodes)
    return torch.cat(
        [links.rows(start, min(start + rows, nodes)) for start in range(0, nodes, rows)]
    )


def memory_of_step(
    nodes: int, edges: int, setting: dict[str, Any], *, kept: bool
) -> dict[str, float]:
    """Of an untrained network on a random graph, which takes as much as a trained one."""
    raw = stand_in("memory", num_nodes=nodes, num_edges=edges, num_steps=setting["context"] + 3)
    ours = Ours(raw, Setting(**setting))
    links = ours.before(setting["context"])
    links.update(ours.sequence[setting["context"]])
    positives = ours.sequence[setting["context"] + 1].edge_index
    with timing.peak_memory() as memory:
        watch = timing.Stopwatch()
        all_pairs_metrics(
            links, positives, block_pairs=BLOCK_PAIRS, keep_bytes=2**62 if kept else 0
        )
        seconds = watch.read()
    return {"growth_mib": memory.growth_mib, "cpu": seconds.cpu}


if __name__ == "__main__":
    if sys.argv[1:2] != ["--child"]:
        sys.exit("run graphs_bench.py")
    torch.set_num_threads(1)
    print(json.dumps(memory_of_step(**json.loads(sys.argv[2]))))
