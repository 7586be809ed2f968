"""Training curves out of a run's metrics.csv."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.figures.style import LINE_COLOURS, MODEL, house_style, new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[Float[ndarray, " steps"], Float[ndarray, " steps"]]
"""Steps and values."""

_TERMS = ("_l1", "_bce", "eikonal", "free_space", "line_of_sight")
"""Endings of the unweighted loss terms."""
_SHARPNESS = ("inv_s", "z")


def training_curves(path: Path, metrics_csv: Path) -> Path:
    """Draw loss terms, learning rate and sharpness z against the optimiser step.

    Training losses are drawn faint with their running median: the total, and its unweighted terms
    at t0 (dashed) and at the drawn horizon tm. Of validation only the total is drawn, as points. A
    panel without a column in the file is left out, and so is a term that is always zero.

    Args:
        path: PNG to write.
        metrics_csv: History of a run with a `step` column and cells that may be empty, as
            Lightning's CSVLogger writes it.
    """
    curves = read_curves(metrics_csv)
    losses = {name: curve for name, curve in curves.items() if _is_loss(name, curve)}
    rates = {name: curve for name, curve in curves.items() if name.startswith("lr")}
    sharpness = {name: curve for name, curve in curves.items() if _stem(name) in _SHARPNESS}
    panels = [
        ("loss", losses, 2.2, "log"),
        ("learning rate", rates, 0.9, "linear"),
        ("sharpness z", sharpness, 0.9, "linear"),
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        raise ValueError(
            f"{metrics_csv} has no loss, lr or z to draw: its columns are {', '.join(curves)}"
        )
    with house_style():
        gap, bottom, top, width = 0.2, 0.5, 0.15, 5.6
        total = sum(panel[2] for panel in panels) + gap * (len(panels) - 1) + bottom + top
        label_in = 0.6 + 0.075 * max((len(_label(name)) for name in losses), default=0)
        figure_width = 0.68 + width + label_in
        figure = new_figure(figure_width, total)
        y = total - top
        last = max(float(steps[-1]) for _, group, _, _ in panels for steps, _ in group.values())
        for index, (label, group, height, scale) in enumerate(panels):
            y -= height
            axis = figure.add_axes(
                (0.68 / figure_width, y / total, width / figure_width, height / total)
            )
            y -= gap
            _draw_group(axis, group)
            positive = all((values > 0).all() for _, values in group.values())
            axis.set_yscale("log" if scale == "log" and positive else "linear")
            axis.set_xlim(0, max(last, 1.0))
            axis.set_ylabel(label)
            axis.yaxis.set_label_coords(-0.075, 0.5)
            if label == "learning rate":
                axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
            axis.tick_params(labelbottom=index == len(panels) - 1)
        axis.set_xlabel("step")
        return save_png(figure, path)


def _draw_group(axis: "Axes", group: dict[str, Curve]) -> None:
    """Draw the curves of one panel, with a legend beside it if there are several."""
    palette = (MODEL, *LINE_COLOURS)
    terms = sorted({_term(name) for name in group}, key=lambda term: (term != "loss", term))
    for name in sorted(group, key=lambda name: (terms.index(_term(name)), name)):
        steps, values = group[name]
        colour = palette[terms.index(_term(name)) % len(palette)]
        label = _label(name)
        if name.startswith("val/"):
            axis.plot(steps, values, color=colour, marker="o", mec="white", lw=0.8, label=label)
            continue
        smooth = running_median(values)
        if smooth is not values:
            axis.plot(steps, values, color=colour, lw=0.5, alpha=0.25)
        dashes = (0, (3, 1.2)) if _stem(name).startswith("t0_") else "-"
        axis.plot(steps, smooth, color=colour, lw=1.5, ls=dashes, label=label)
    if len(group) > 1:
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)


def read_curves(metrics_csv: Path) -> dict[str, Curve]:
    """Columns of a history against its `step` column, without empty and NaN cells.

    Columns that repeat another, such as the learning rate of a second parameter group, are left
    out.
    """
    with Path(metrics_csv).open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row.get("step")]
    if not rows:
        raise ValueError(f"{metrics_csv} has no row with a step to draw")
    curves: dict[str, Curve] = {}
    for name in sorted(rows[0].keys() - {"step", "epoch"}):
        pairs = np.array([(float(row["step"]), float(row[name] or "nan")) for row in rows])
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        repeats = any(np.array_equal(pairs, np.stack(curve, axis=1)) for curve in curves.values())
        if len(pairs) and not repeats:
            curves[name] = (pairs[:, 0], pairs[:, 1])
    return curves


def running_median(values: Float[ndarray, " steps"]) -> Float[ndarray, " steps"]:
    """Centred median over a fiftieth of a curve, shorter at its ends; short curves as they are."""
    half = len(values) // 100
    if half < 1:
        return values
    padded = np.pad(values, half, constant_values=np.nan)
    return np.asarray(
        np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    )


def _is_loss(name: str, curve: Curve) -> bool:
    """Whether a column is the loss or a term of it that is not switched off."""
    stem = _stem(name)
    if name.startswith("val/"):
        return stem == "loss"
    return (stem == "loss" or stem.endswith(_TERMS)) and bool(curve[1].any())


def _stem(name: str) -> str:
    """`train/t0_range_l1` -> `t0_range_l1`."""
    return name.rsplit("/", 1)[-1]


def _term(name: str) -> str:
    """`train/t0_range_l1` and `train/tm_range_l1` -> `range_l1`: what shares a colour."""
    return _stem(name).removeprefix("t0_").removeprefix("tm_")


def _label(name: str) -> str:
    """`train/tm_range_l1` -> `range L1, tm`; `val/loss` -> `loss, val`."""
    part, _, stem = name.rpartition("/")
    frame = stem[:2] if stem.startswith(("t0_", "tm_")) else ""
    words = _term(name).replace("_l1", " L1").replace("_bce", " BCE").replace("_", " ")
    return ", ".join(word for word in (words, frame, "val" if part == "val" else "") if word)
