"""Series: S2IP-LLM and the data-frame interface against what they replace, in turns in one run.

    python tools/bench/forecast_bench.py [--data ETTh1.csv] [--only NAME ...] [--out PAGE]

The peer of S2IP-LLM is forecast_peer.py, step by step what the released code computes; peers of the
rest are the loops that one would write. All peers are held to the same results before they are
timed. Without `--data`, random walks of ETTh1's size stand in. CPU seconds of one thread, medians
of the turns with quartiles in brackets; ratios turn by turn. `--smoke` runs everything at tiny
sizes, without aims.
"""

import argparse
import os
from pathlib import Path

import timing

timing.one_thread()

import forecast_s2ip as s2ip  # noqa: E402
import forecast_series as series  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from page import Page  # noqa: E402

from forecasting.data_config import DataConfig  # noqa: E402
from forecasting.series_data import read_series  # noqa: E402

PACKAGES = ("torch", "transformers", "numpy", "pandas")
ROWS, CHANNELS = 8640, 7
"""Of ETTh1's training part."""
WHY_NETWORK = (
    "What keeps large batches from more: the map costs the same at any batch, and four fifths of "
    "our seconds are the products of the frozen blocks, which neither can leave out."
)
WHY_STAGES = (
    "Where a decomposition's share is apart: it is a hundredth of a step, a few rows of pandas "
    "between large products that leave the caches cold."
)
WHY_LOADER = (
    "What keeps long windows from more: over half of our seconds are the one copy of the windows "
    "that a batch is."
)


def main() -> None:
    """Print the tables, write the page."""
    parser = timing.parser(__doc__)
    parser.add_argument("--data", type=Path, help="ETTh1.csv")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--largest", type=int, default=12,
                        help="windows of the largest training step")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no aims")
    parser.add_argument("--out", type=Path, help="docs/results/forecast_bench.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    timing.print_versions(*PACKAGES)
    head = (
        f"`python tools/bench/forecast_bench.py`: {timing.versions(*PACKAGES)}, one thread, "
        f"{args.turns} turns after a warm-up, load {os.getloadavg()[0]:.1f} at the start.\n\n"
        f"{__doc__.split(chr(10) * 2)[2]}\n\nNo GPU was at hand: bf16 against float32 there is not "
        "measured."
    )
    page = Page("Series: speed and memory")
    for name in args.only:
        PARTS[name](page, args)
        if args.out is not None:  # after every part: a run that is cut off leaves what it has
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(page.text(head))


def decomposition(page: Page, args: argparse.Namespace) -> None:
    """Closed form against pandas."""
    s2ip.measure_decomposition(page, _shape(args), args.turns, aims=not args.smoke)


def network(page: Page, args: argparse.Namespace) -> None:
    """Forecasts and training steps of S2IP-LLM."""
    s2ip.measure_network(page, _shape(args), args.turns, args.largest, aims=not args.smoke)
    page.note(WHY_STAGES)
    page.note(WHY_NETWORK)


def memory(page: Page, args: argparse.Namespace) -> None:
    """Table of anchors against the published map."""
    s2ip.measure_memory(page, _shape(args), args.turns, aims=not args.smoke)


def loader(page: Page, args: argparse.Namespace) -> None:
    """Windows of an epoch."""
    series.measure_loader(page, _sizes(args), _table(args)[0], args.turns, aims=not args.smoke)
    page.note(WHY_LOADER)


def predict(page: Page, args: argparse.Namespace) -> None:
    """Many series at once."""
    series.measure_predict(page, _sizes(args), args.turns, aims=not args.smoke)


def backtest(page: Page, args: argparse.Namespace) -> None:
    """Many cutoffs at once."""
    series.measure_backtest(page, _sizes(args), args.turns, aims=not args.smoke)


def ridge(page: Page, args: argparse.Namespace) -> None:
    """Gram matrix against stacked windows."""
    values, name = _table(args)
    series.measure_ridge(page, _sizes(args), values, name, args.turns, aims=not args.smoke)


PARTS = {
    part.__name__: part
    for part in (decomposition, network, memory, loader, predict, backtest, ridge)
}


def _shape(args: argparse.Namespace) -> s2ip.Shape:
    return s2ip.SMALL if args.smoke else s2ip.Shape()


def _sizes(args: argparse.Namespace) -> series.Sizes:
    return series.SMALL if args.smoke else series.Sizes()


def _table(args: argparse.Namespace) -> tuple[np.ndarray, str]:
    """Scaled training rows [rows, channels], and what they are."""
    if args.data is None:
        rows = 400 if args.smoke else ROWS
        walks = np.random.default_rng(0).normal(size=(rows, CHANNELS)).cumsum(0)
        return (walks - walks.mean(0)) / walks.std(0), "random walks"
    data = read_series(DataConfig(path=str(args.data)), _sizes(args).context)
    return data.scaled[data.split.train.start : data.split.train.stop], data.table.name


if __name__ == "__main__":
    main()
