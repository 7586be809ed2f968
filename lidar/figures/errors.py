"""Curves of forecast errors: their distribution, and how they grow with the horizon."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lidar.figures.frame import ForecastFrame, check_frames
from lidar.figures.style import (
    EMPTY,
    MUTED,
    house_style,
    new_figure,
    panel_grid,
    save_png,
    who_colours,
    who_label,
)


def error_histogram(
    path: Path,
    frames: Sequence[ForecastFrame],
    *,
    who: Sequence[str] = (),
    num_bins: int = 60,
) -> Path:
    """Draw how absolute range errors are distributed, one panel per horizon, medians marked.

    The error axis is logarithmic from 1 cm to 100 m, because forecasts differ in the median and in
    the far tail alike. Shares are of all answered rays, also of those outside the axis.

    Args:
        path: PNG to write.
        frames: Frames of any number of windows; those of one horizon are pooled.
        who: Forecasts to compare; empty = all that the first frame holds.
        num_bins: Bins over the whole axis.
    """
    check_frames(frames, "error_histogram")
    names = list(who or frames[0].predicted_m)
    colours = who_colours(names)
    horizons = sorted({frame.horizon_s for frame in frames})
    edges = np.geomspace(0.01, 100.0, num_bins + 1)
    with house_style():
        figure, axes = panel_grid(
            1,
            len(horizons),
            panel_in=(2.9, 2.1),
            margin_in=(0.62, 0.15, 0.5, 0.36),
            gap_in=(0.18, 0.0),
        )
        top = 0.0
        for axis, horizon_s in zip(axes[0], horizons, strict=True):
            notes: list[tuple[str, str]] = []
            for name in names:
                pooled = [np.abs(f.error_m(name)) for f in frames if f.horizon_s == horizon_s]
                error = np.concatenate(pooled)
                error = error[np.isfinite(error)]
                if not error.size:
                    notes.append((name, "no answer"))
                    continue
                counts, _ = np.histogram(error, edges)
                share_pct = 100.0 * counts / error.size
                top = max(top, float(share_pct.max()))
                axis.stairs(share_pct, edges, color=colours[name], lw=1.6)
                axis.stairs(share_pct, edges, color=colours[name], alpha=0.12, fill=True)
                median = float(np.median(error))
                axis.vlines(
                    median, 0, share_pct.max() * 1.06, color=colours[name], lw=1.1, ls=(0, (4, 2))
                )
                notes.append((name, f"median {median:.2f}, mean {error.mean():.2f} m"))
            axis.set_xscale("log")
            axis.set_xlim(edges[0], edges[-1])
            axis.set_xticks([0.01, 0.1, 1, 10], ["1 cm", "10 cm", "1 m", "10 m"])
            axis.set_title(f"t0 + {horizon_s:g} s", loc="left")
            for line, (name, note) in enumerate(notes):
                axis.text(
                    0.98,
                    0.97 - 0.095 * line,
                    f"{who_label(name)}: {note}",
                    transform=axis.transAxes,
                    ha="right",
                    va="top",
                    fontsize=8,
                    color=colours[name],
                    fontweight="bold",
                )
            axis.tick_params(labelleft=axis is axes[0][0])
        for axis in axes[0]:
            axis.set_ylim(0, max(top, 1e-3) * (1.12 + 0.11 * len(names)))
        axes[0][0].set_ylabel("share of rays (%)")
        figure.supxlabel("absolute range error", fontsize=9, y=0.02)
        return save_png(figure, path)


def horizon_curves(
    path: Path,
    horizons_s: Float[ndarray, " horizons"],
    l1_m: Mapping[str, Float[ndarray, "_ _"]],
    *,
    trained_to_s: float | None = None,
    label: str = "L1 (m)",
) -> Path:
    """Draw an error against the horizon for each `who`: mean over runs and their spread.

    Args:
        path: PNG to write.
        horizons_s: Horizons in seconds.
        l1_m: Who -> one row per run (seed); the band is mean +- standard deviation (n - 1), and
            one run has none. NaN = not scored.
        trained_to_s: Longest trained horizon; what lies beyond is marked extrapolated.
        label: Vertical axis.
    """
    if not l1_m or not len(horizons_s):
        raise ValueError("horizon_curves: there is no curve to draw")
    for name, values in l1_m.items():
        if values.ndim != 2 or values.shape[1] != len(horizons_s) or not len(values):
            raise ValueError(
                f"l1_m[{name!r}] must be [runs, {len(horizons_s)}] with at least one run, "
                f"got {values.shape}"
            )
    colours = who_colours(list(l1_m))
    order = np.argsort(horizons_s)
    horizons = np.asarray(horizons_s, np.float64)[order]
    with house_style():
        label_in = 0.2 + 0.068 * max(len(name) + 6 for name in l1_m)
        width = 0.55 + 3.6 + label_in
        figure = new_figure(width, 3.0)
        axis = figure.add_axes((0.55 / width, 0.155, 3.6 / width, 0.805))
        ends: list[tuple[float, str]] = []
        top = 0.0
        for name, values in l1_m.items():
            mean, spread = _mean_and_spread(np.asarray(values, np.float64)[:, order])
            top = max(top, float(np.nanmax(mean + spread, initial=0.0)))
            style = (0, (4, 1.6)) if name == "copy_last" else "-"
            axis.plot(horizons, mean, color=colours[name], ls=style, marker="o", ms=4)
            if spread.any():
                axis.fill_between(
                    horizons, mean - spread, mean + spread, color=colours[name], alpha=0.16, lw=0
                )
            scored = np.flatnonzero(np.isfinite(mean))
            if scored.size:
                ends.append((float(mean[scored[-1]]), name))
        margin = 0.04 * max(float(horizons[-1] - horizons[0]), 0.5)
        axis.set_xlim(float(horizons[0]) - margin, float(horizons[-1]) + margin)
        axis.set_ylim(0, max(top, 1e-3) * 1.08)
        axis.set_xticks(horizons, [f"{h:g}" for h in horizons])
        if trained_to_s is not None and trained_to_s < horizons[-1]:
            axis.axvspan(trained_to_s, float(horizons[-1]) + margin, color=EMPTY, lw=0, zorder=0)
            axis.annotate(
                "extrapolated",
                (trained_to_s, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -4),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=MUTED,
            )
        axis.set_xlabel("horizon (s)")
        axis.set_ylabel(label)
        for height, (value, name) in zip(
            _spaced([value for value, _ in sorted(ends)], 0.062 * axis.get_ylim()[1]),
            sorted(ends),
            strict=True,
        ):
            axis.annotate(
                f"{who_label(name)}  {value:.2f}",
                (1.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                fontweight="bold",
                color=colours[name],
            )
        return save_png(figure, path)


def _mean_and_spread(
    values: Float[ndarray, "runs horizons"],
) -> tuple[Float[ndarray, " horizons"], Float[ndarray, " horizons"]]:
    """Mean and standard deviation (n - 1) over the runs that are scored; one run spreads 0."""
    scored = np.isfinite(values)
    count = scored.sum(axis=0)
    total = np.where(scored, values, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    square = np.where(scored, (values - mean) ** 2, 0.0).sum(axis=0)
    return mean, np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), 0.0)


def _spaced(values: Sequence[float], gap: float) -> list[float]:
    """Rising heights for labels at rising values, at least `gap` apart."""
    heights: list[float] = []
    for value in values:
        heights.append(max(value, heights[-1] + gap) if heights else value)
    return heights
