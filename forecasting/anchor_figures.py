"""Pictures of what S2IP does with anchors: which ones, how near, when, where in space, what parts.

All draw with Agg into a PNG, whole or not at all.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from forecasting.explain import SEPARATOR, CosineTrack, PointClouds
from forecasting.figures import COLOURS
from foretell.errors import missing_package
from foretell.run import atomic_path

SHOWN_ANCHORS = 30
"""Rows of the heat map at most, the anchors that are retrieved most often."""
MARKED_WINDOWS = 200
"""Windows at most for dots to be told apart."""
PART_NAMES = ("trend", "season", "residual")
SEED = 0
"""Of t-SNE."""


def draw_retrieved(path: Path, table: pd.DataFrame, *, most: int) -> None:
    """A bar a retrieved anchor, as long as its cosine, with its nearest words.

    Args:
        path: PNG to write.
        table: Of `explain`, the series in its first column.
        most: Series drawn at most, the first ones.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(table.iloc[:, 0]))[:most]
    ranks = int(table["rank"].max())
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    height = rows * (0.55 + 0.66 * ranks) + 0.4
    figure = Figure(figsize=(6.2 * columns, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    low, high = min(0.0, float(table["cosine"].min())), max(0.0, float(table["cosine"].max()))
    left = low + 0.006 * (high - low)
    for axes, name in zip(grid, names, strict=False):
        own = table[table.iloc[:, 0] == name]
        axes.barh(own["rank"], own["cosine"], height=0.2, color=COLOURS[0])
        for row in own.itertuples():
            text = f"anchor {row.anchor}: cosine {row.cosine:.3f}, in {row.usage:.0%} of the series"
            axes.text(left, row.rank - 0.25, text, fontsize=7.5, va="center", weight="bold")
            words = _short(str(row.words_centred), 70)
            axes.text(left, row.rank + 0.25, words, fontsize=7.5, va="center", color="0.3")
        axes.set_ylim(ranks + 0.5, 0.5)
        axes.set_xlim(low, high * 1.02 if high > low else 1.0)
        axes.set_yticks(range(1, ranks + 1))
        axes.set_title(str(name), fontsize=9, loc="left")
        axes.tick_params(labelsize=7, left=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel(
        "cosine with the series; below each bar the nearest words, the mean word removed",
        fontsize=8,
    )
    _save(figure, path)


def draw_cosines(path: Path, track: CosineTrack, labels: Sequence[str]) -> None:
    """Cosine of windows sliding over one series with the anchors retrieved on the way.

    Dots mark the anchors that stand before a window, the darkest ones the most similar; from 200
    windows on there are none.

    Args:
        path: PNG to write.
        track: Of `cosine_track`.
        labels: A text an anchor, in the track's order.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure

    shown = min(SHOWN_ANCHORS, len(track.anchors))
    cells = track.cosine[:, :shown].T.numpy()
    times = date2num(track.ends.tz_localize(None).to_pydatetime())
    figure = Figure(figsize=(10, 1.5 + 0.22 * shown), layout="constrained")
    axes = figure.subplots()
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
    borders = np.append(times - half, times[-1] + half)
    mesh = axes.pcolormesh(borders, np.arange(shown + 1) - 0.5, cells, cmap="viridis")
    if len(times) <= MARKED_WINDOWS:
        for rank in reversed(range(track.chosen.shape[1])):
            place = track.chosen[:, rank].numpy()
            kept = place < shown
            shade = str(0.75 * rank / max(1, track.chosen.shape[1] - 1))
            axes.scatter(times[kept], place[kept], s=9, color=shade, edgecolors="w", lw=0.4)
    axes.set_yticks(range(shown), [_short(text, 44) for text in labels[:shown]], fontsize=7)
    axes.invert_yaxis()
    locator = AutoDateLocator(minticks=4)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(labelsize=7)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_xlabel("end of the window", fontsize=8)
    left_out = len(track.anchors) - shown
    axes.set_title(
        f"{track.series}: cosine with the anchors that its windows retrieve"
        + (f" (the {shown} most often retrieved of {len(track.anchors)})" if left_out else ""),
        fontsize=9, loc="left",
    )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=40)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("cosine", fontsize=8)
    _save(figure, path)


def draw_clouds(path: Path, clouds: PointClouds) -> None:
    """Anchors, tokens and prefixed tokens in two dimensions, by PCA and by t-SNE.

    A token is the mean of a window's tokens, a prefixed one that of its anchors and tokens.
    Directions of PCA are those of all three clouds together; t-SNE is by cosine and seeded, its
    distances between clouds mean little.
    """
    from matplotlib.figure import Figure

    used = clouds.used
    groups = {
        "anchors never retrieved": (clouds.anchors[~used], {"marker": "o", "color": "0.7"}),
        "anchors retrieved": (clouds.anchors[used], {"marker": "D", "color": COLOURS[6]}),
        "mean tokens": (clouds.tokens, {"marker": "^", "color": COLOURS[0]}),
        "mean tokens and anchors": (
            clouds.prefixed, {"marker": "s", "facecolor": "none", "edgecolor": COLOURS[2]},
        ),
    }  # fmt: skip
    rows = np.concatenate([points.numpy().astype(np.float64) for points, _ in groups.values()])
    owner = np.repeat(np.arange(len(groups)), [len(points) for points, _ in groups.values()])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    plane, shares = principal_plane(rows)
    names = [f"PCA, {shares[0]:.0%} and {shares[1]:.0%} of the variance", "t-SNE of cosines"]
    for axes, points, name in zip(figure.subplots(1, 2), (plane, _tsne(rows)), names, strict=True):
        for place, (group, (_, style)) in enumerate(groups.items()):
            own = points[owner == place]
            axes.scatter(own[:, 0], own[:, 1], s=12, lw=0.7, label=f"{len(own)} {group}", **style)
        axes.set_title(name, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[1].set(xticks=[], yticks=[])  # coordinates of t-SNE mean nothing
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
        fontsize=8, frameon=False, markerscale=2,
    )  # fmt: skip
    _save(figure, path)


def draw_parts(
    path: Path,
    past: Float64[np.ndarray, "series context"],
    parts: Float64[np.ndarray, "series 3 horizon"],
    names: Sequence[str],
) -> None:
    """The forecast of every series and what it is made of: a column each.

    The parts of a series are drawn to one scale.

    Args:
        path: PNG to write.
        past: What the forecast sees.
        parts: Trend, season, residual in the same units; the forecast is their sum.
        names: Of the series.
    """
    from matplotlib.figure import Figure

    columns = 1 + len(PART_NAMES)
    figure = Figure(figsize=(3.4 * columns, 1.9 * len(names) + 0.3), layout="constrained")
    grid = figure.subplots(len(names), columns, squeeze=False)
    horizon = parts.shape[-1]
    steps, shown = np.arange(1, horizon + 1), min(past.shape[1], 4 * horizon)
    for row, name in enumerate(names):
        whole = grid[row, 0]
        whole.plot(np.arange(1 - shown, 1), past[row, -shown:], color="0.45", lw=1)
        whole.plot(steps, parts[row].sum(0), color=COLOURS[0], lw=1.8)
        whole.set_ylabel(name, fontsize=8)
        middles = (parts[row].max(1) + parts[row].min(1)) / 2
        reach = 0.55 * max(float(np.ptp(parts[row], axis=1).max()), 1e-9)
        for place, axes in enumerate(grid[row, 1:]):
            axes.plot(steps, parts[row, place], color=COLOURS[place + 1], lw=1.5)
            axes.set_ylim(middles[place] - reach, middles[place] + reach)
        for place, axes in enumerate(grid[row]):
            if row == 0:
                title = ("forecast, their sum", *PART_NAMES)[place]
                axes.set_title(title, fontsize=9, loc="left")
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("steps after the last known value", fontsize=8)
    _save(figure, path)


def principal_plane(
    rows: Float64[np.ndarray, "rows dim"],
) -> tuple[Float64[np.ndarray, "rows 2"], Float64[np.ndarray, " 2"]]:
    """Coordinates along the two directions of largest variance, and their shares of it."""
    centred = rows - rows.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    plane: Float64[np.ndarray, "rows 2"] = centred @ directions[:2].T
    shares: Float64[np.ndarray, " 2"] = (sizes**2)[:2] / (sizes**2).sum()
    return plane, shares


def _tsne(rows: Float64[np.ndarray, "rows dim"]) -> np.ndarray:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise missing_package("scikit-learn", "forecasting") from None
    perplexity = min(30.0, (len(rows) - 1) / 3)
    found = TSNE(
        metric="cosine", init="random", random_state=SEED, perplexity=perplexity
    ).fit_transform(rows)
    points: np.ndarray = found
    return points


def _short(words: str, width: int) -> str:
    return textwrap.shorten(words.replace(SEPARATOR, " \u00b7 "), width, placeholder=" ...")


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
