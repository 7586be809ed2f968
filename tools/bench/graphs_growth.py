"""Time of a training sample and of a test step as nodes, edges and window grow.

Part of graphs_bench.py, which runs it.
"""

from dataclasses import replace
from functools import partial

import timing

timing.one_thread()

import stages  # noqa: E402
from graphs_ours import Ours  # noqa: E402
from graphs_peer import Peer, Setting  # noqa: E402
from graphs_raw import stand_in  # noqa: E402
from page import Page  # noqa: E402

NODES, EDGES, STEPS, CONTEXT = 2_000, 24_000, 24, 5
SAMPLES = 2


def growth(page: Page, *, turns: int, smoke: bool) -> None:
    """Rows that double and double again one size, the others as they are."""
    shrink = 20 if smoke else 1
    nodes, edges, base = NODES // shrink, EDGES // shrink, Setting(context=CONTEXT)
    if smoke:
        base = replace(base, width=8, decoder_width=6, negatives=3)
    page.section(
        "Growth",
        f"Random graphs of {STEPS} steps, unless a row says otherwise {nodes:,} nodes, {edges:,} "
        f"edges and a context of {CONTEXT}; mean of {SAMPLES} training samples. Feature width and "
        "with it the gates follow the largest degree.",
        "| what | features | pairs of a sample | -O peer CPU s | -O ours | -H peer | -H ours |",
    )
    for factor in (1, 2, 4):
        _row(page, f"{nodes * factor:,} nodes", nodes * factor, edges, base, turns)
    for factor in (2, 4):
        _row(page, f"{edges * factor:,} edges", nodes, edges * factor, base, turns)
    for context in (10, 20):
        _row(page, f"context {context}", nodes, edges, replace(base, context=context), turns)


def _row(page: Page, what: str, nodes: int, edges: int, setting: Setting, turns: int) -> None:
    raw = stand_in(what, num_nodes=nodes, num_edges=edges, num_steps=STEPS)
    steps = range(STEPS - 1 - SAMPLES, STEPS - 1)
    sides = {
        f"{kind} {name}": side(raw, replace(setting, kind=kind))
        for kind in "oh"
        for name, side in (("peer", Peer), ("ours", Ours))
    }
    taken = timing.take_turns(
        {name: partial(side.epoch, steps) for name, side in sides.items()}, turns
    )
    cells = [
        timing.show([stages.total(turn).cpu / SAMPLES for turn in taken[name]]) for name in sides
    ]
    peer = sides["o peer"]
    pairs = [peer.sample(t).pairs.shape[1] for t in steps]
    page.row(what, peer.features, f"{sum(pairs) / SAMPLES:,.0f}", *cells)
