"""EvolveGCN of ours against the released code's computation, peers taking turns in one run.

    python tools/bench/graphs_bench.py [--uci FILE] [--otc FILE] [--out PAGE]

The peer is graphs_peer.py, step by step what the released code computes; before they are timed it
and ours are held to the same embeddings, AP and MRR from the same weights. Without a file, those in
$FORETELL_TEST_DATA/graphs are read; without these, random graphs of the same sizes stand in. CPU
seconds of one thread, medians of the turns with quartiles in brackets; ratios turn by turn.
`--smoke` runs everything at tiny sizes, without aims.
"""

import argparse
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

import graphs_otc  # noqa: E402
import stages  # noqa: E402
import torch  # noqa: E402
from graphs_growth import growth  # noqa: E402
from graphs_ours import Ours, check_metrics  # noqa: E402
from graphs_peer import OTC, Peer, Setting  # noqa: E402
from graphs_raw import RawEdges, read_otc, read_uci, stand_in  # noqa: E402
from graphs_stages import RELEASED  # noqa: E402
from page import RATIO, Page  # noqa: E402

UCI, BITCOIN = "out.opsahl-ucsocial", "soc-sign-bitcoinotc.csv"
UCI_SHARE, OTC_SHARE = 0.71, 0.7
"""Of the steps that train, as published."""
SMALL = {"num_nodes": 120, "num_edges": 1500, "num_steps": 40}
SMOKE = Setting(width=8, decoder_width=6, negatives=3, context=2)
EPOCH_AIMS, TEST_AIM = {"o": 5.0, "h": 2.0}, 10.0
FIRST = 10
"""Samples on which the released code's stages were timed."""
PARTS = ("epoch", "test", "otc", "growth")
WHY_EPOCH = (
    "What keeps -O from more: both sides evolve two weight matrices eleven times a sample, forward "
    "and backward, about 1 GFLOP of dense products that neither can leave out. Of a later sample, "
    "which has few pairs, they are about 20 of our 47 ms."
)
WHY_TRAIN = (
    "Where shares are apart: the GCN's forward pass is mostly small dense products that evolve the "
    "weights, whose speed follows the machine's BLAS more than anything else here does; of the "
    "decoder the released code does equal work in -O and -H, yet its two figures differ 1.9 times, "
    "and the peer's lie within that."
)
WHY_TEST = (
    "Where shares are apart: the peer draws and sorts with vectorised torch and NumPy, as it does "
    "wherever the released code could; scores, the largest stage, are the same operations."
)


def main() -> None:
    """Print the tables, write the page."""
    parser = timing.parser(__doc__)
    parser.add_argument("--uci", type=Path, help=UCI)
    parser.add_argument("--otc", type=Path, help=BITCOIN)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer-chunks", type=int, default=20,
                        help="chunks of 100,000 pairs of an OTC step that the peer scores, from "
                        "which the time of all is computed; 0 = all")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no aims")
    parser.add_argument("--out", type=Path, help="docs/results/graphs_bench.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    page = Page("Dynamic graphs: speed and memory")
    timing.print_versions("torch", "numpy", "scipy")
    head = f"`python tools/bench/graphs_bench.py`: {timing.versions('torch', 'numpy', 'scipy')}, "
    head += (
        f"one thread, {args.turns} turns after a warm-up, load {os.getloadavg()[0]:.1f} at the "
        "start.\n\n"
    )
    head += __doc__.split("\n\n")[2]
    parts = {"epoch": epochs, "test": tests, "otc": otc_step, "growth": grow}
    for part in args.only:
        parts[part](page, args)
        if args.out is not None:  # after every part: a run that is cut off leaves what it has
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(page.text(head))


def epochs(page: Page, args: argparse.Namespace) -> None:
    """Training epochs of -O and -H, then the peer's stages beside the released code's."""
    raw = _uci(args)
    steps = raw.train_steps(UCI_SHARE, _setting(args).context)
    twins = {
        kind: _twins(raw, replace(_setting(args), kind=kind), steps[-1]) for kind in EPOCH_AIMS
    }
    kept: dict[str, dict[str, list[list[stages.Run]]]] = {}
    page.section(
        f"Training epoch, {raw.name}",
        f"{len(steps)} samples, forward, backward and Adam. The first {FIRST} hold most of the "
        "pairs; on them the released code was timed. Ours builds the normalised snapshots once "
        "for all epochs, which has a row.",
        RATIO,
    )
    for kind, (peer, ours) in twins.items():
        built = Ours(raw, ours.setting).warm_up()
        taken = timing.take_turns(
            {"peer": partial(peer.epoch, steps), "ours": partial(ours.epoch, steps)}, args.turns
        )
        kept[kind] = taken
        label = f"-{kind.upper()}, {peer.features} features"
        whole = {name: [stages.total(turn) for turn in turns] for name, turns in taken.items()}
        page.ratio(f"{label}, epoch", whole, aim=None if args.smoke else EPOCH_AIMS[kind])
        first = {
            name: [stages.total(turn[:FIRST]) for turn in turns] for name, turns in taken.items()
        }
        page.ratio(f"{label}, first {FIRST} samples", first)
        page.row(f"{label}, snapshots built once", "-", f"{built.cpu:.3f}", "-", "-", "-", "")
    page.note(WHY_EPOCH)
    for kind, taken in kept.items():
        page.section(
            f"Stages of a training sample, -{kind.upper()}",
            f"Mean of the first {FIRST} samples, beside the released code's own seconds on UCI "
            f"messages; shares apart by more than {stages.OFF:.0%} are marked.",
            stages.HEADER,
        )
        found = stages.median_of([stages.mean_of(turn[:FIRST]) for turn in taken["peer"]])
        page.rows(stages.shares(found, RELEASED[kind]["train"]))
        own = stages.median_of([stages.mean_of(turn[:FIRST]) for turn in taken["ours"]])
        page.note("Ours: " + ", ".join(f"{name} {value:.3f} s" for name, value in own.items()))
    page.note(WHY_TRAIN)


def tests(page: Page, args: argparse.Namespace) -> None:
    """A test step of -O: scores of all pairs, AP and MRR."""
    raw = _uci(args)
    step = raw.test_steps(UCI_SHARE)[0]
    peer, ours = _twins(raw, _setting(args), step)
    taken: dict[str, list[timing.Seconds]] = {"peer": [], "ours": []}
    runs = []
    for turn in range(1 + args.turns):
        run, theirs = peer.test_step(step)
        links = ours.before(step)
        watch = timing.Stopwatch()
        own = ours.test_step(links, step)
        if turn:
            taken["ours"].append(watch.read())
            taken["peer"].append(stages.total([run]))
            runs.append(stages.mean_of([run]))
    check_metrics((theirs["map"], theirs["mrr"]), links, ours.sequence[step + 1].edge_index)
    page.section(
        f"Test step, {raw.name}",
        f"-O, {raw.num_nodes**2:,} pairs; AP {own.ap:.6f} and MRR {own.mrr:.6f}, the peer's "
        f"{theirs['map']:.6f} and {theirs['mrr']:.6f}.",
        RATIO,
    )
    page.ratio("sample, scores, AP and MRR", taken, aim=None if args.smoke else TEST_AIM)
    page.section("Stages of a test step", "CPU seconds as above.", stages.HEADER)
    page.rows(stages.shares(stages.median_of(runs), RELEASED["o"]["test"]))
    page.note(WHY_TEST)


def otc_step(page: Page, args: argparse.Namespace) -> None:
    """The all-pairs step of Bitcoin OTC."""
    sizes = SMALL | {"num_nodes": 150} if args.smoke else None
    raw = _graph(args.otc, read_otc, BITCOIN, "OTC", sizes, num_nodes=5881, num_edges=35592,
                 num_steps=138)  # fmt: skip
    setting = replace(SMOKE, chunk=5_000) if args.smoke else OTC["o"]
    graphs_otc.measure(
        page, raw, setting, raw.test_steps(OTC_SHARE)[0],
        turns=args.turns, chunks=args.peer_chunks, limits=not args.smoke,
    )  # fmt: skip


def grow(page: Page, args: argparse.Namespace) -> None:
    """Growth with nodes, edges and window."""
    growth(page, turns=args.turns, smoke=args.smoke)


def _setting(args: argparse.Namespace) -> Setting:
    return SMOKE if args.smoke else Setting()


def _uci(args: argparse.Namespace) -> RawEdges:
    return _graph(args.uci, read_uci, UCI, "UCI messages", SMALL if args.smoke else None,
                  num_nodes=1899, num_edges=59835, num_steps=89)  # fmt: skip


def _graph(
    path: Path | None, read: Any, file: str, name: str, small: dict[str, int] | None, **sizes: int
) -> RawEdges:
    """The file, else what stands in for it."""
    if small is not None:
        return stand_in(f"{name} (small stand-in)", **small)
    folder = os.environ.get("FORETELL_TEST_DATA")
    if path is None and folder:
        path = Path(folder) / "graphs" / file
    if path is None:
        return stand_in(f"{name} (random stand-in)", **sizes)
    return read(path)


def _twins(raw: RawEdges, setting: Setting, step: int) -> tuple[Peer, Ours]:
    """Both with the same weights, shown to embed alike."""
    peer, ours = Peer(raw, setting), Ours(raw, setting)
    peer.epoch(range(setting.context, setting.context + 3))  # away from the start
    ours.take_weights(peer)
    peer.layers.eval()
    ours.network.eval()
    with torch.no_grad():
        theirs, own = peer.embed(peer.sample(step)), ours.embed(step)
    apart = float((theirs - own).norm() / theirs.norm())
    print(f"-{setting.kind.upper()}: embeddings differ by {apart:.1e}", flush=True)
    if apart > 1e-4:
        raise AssertionError(f"peer and ours embed differently: {apart:.1e}")
    return peer, ours


if __name__ == "__main__":
    main()
