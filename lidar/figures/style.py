"""One look for every figure: colours, fonts, panel layout, reproducible files.

Colour maps are monotonic in lightness and readable with colour-vision deficiency; line colours are
those of Okabe and Ito (https://jfly.uni-koeln.de/color). Only `Figure` objects are used, never
pyplot, and the caller's rcParams come back unchanged.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from foretell.run import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from PIL.Image import Image

INK = "#1f2a33"
MUTED = "#6b7780"
FRAME = "#c8d0d5"
EMPTY = "#e9edef"
EGO = "#d55e00"
MODEL = "#0072b2"
DPI = 200

LINE_COLOURS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#d55e00")
"""Given in order to whoever has no colour of their own."""

_WHO_COLOURS = {"copy_last": "#5c6770"}

_STOPS = {
    "height": ("#bccbd1", "#8fbcc2", "#4a93b0", "#2f5f9b", "#3a2b75", "#240b45"),
    "range": ("#2b1055", "#34468c", "#2f7f9b", "#4fae9a", "#a6d3a0", "#e6efc4"),
    "error": ("#b7c8d0", "#e0b46c", "#ea8f4c", "#c8433b", "#7d1548", "#3b0a3f"),
    "signed_error": ("#053a61", "#2f7fb5", "#a9cde2", "#ffffff", "#f3b995", "#cc5b42", "#6e0b25"),
}

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e8ea",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "out",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 1.8,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults with our settings; whatever the caller had set returns afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def colour_map(name: str) -> "Colormap":
    """Our map `height`, `range`, `error` or `signed_error`; empty pixels are light grey."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(name, _STOPS[name]).with_extremes(bad=EMPTY)


def gif_colours() -> UInt8[np.ndarray, "colours 3"]:
    """RGB of everything a moving figure may show: paper, ink in four strengths, lines, maps."""
    from matplotlib.colors import to_rgb

    ink = np.array(to_rgb(INK))
    inks = [1 - share * (1 - ink) for share in (0.0, 0.35, 0.7, 1.0)]
    lines = [to_rgb(name) for name in (FRAME, EMPTY, MUTED, EGO, *LINE_COLOURS)]
    maps = [colour_map(name)(np.linspace(0, 1, 12))[:, :3] for name in ("height", "error", "range")]
    return np.asarray(np.round(255 * np.concatenate([inks, lines, *maps])), np.uint8)


def who_colours(names: Sequence[str]) -> dict[str, str]:
    """Colour of each `who`: copy_last grey, the first other one blue, then Okabe-Ito in order."""
    own = [name for name in names if name not in _WHO_COLOURS]
    palette = (MODEL, *LINE_COLOURS)
    colours = {name: palette[i % len(palette)] for i, name in enumerate(own)}
    return {**colours, **{name: _WHO_COLOURS[name] for name in names if name in _WHO_COLOURS}}


def who_label(name: str) -> str:
    """How a `who` of metrics.json is written in a figure: `copy_last` becomes `copy last`."""
    return name.replace("_", " ")


def new_figure(width_in: float, height_in: float, *, dpi: int = DPI) -> "Figure":
    """An Agg figure that pyplot does not know of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    num_rows: int,
    num_columns: int,
    *,
    panel_in: tuple[float, float],
    margin_in: tuple[float, float, float, float],
    gap_in: tuple[float, float] = (0.08, 0.08),
    dpi: int = DPI,
) -> tuple["Figure", "list[list[Axes]]"]:
    """Panels of one exact size.

    Args:
        num_rows: Rows of panels.
        num_columns: Columns of panels.
        panel_in: Width and height of a panel in inches.
        margin_in: Left, right, bottom and top margin of the figure in inches.
        gap_in: Horizontal and vertical gap between panels in inches.
        dpi: Pixels per inch.

    Returns:
        The figure and its axes by row and column, first row on top.
    """
    (width, height), (left, right, bottom, top) = panel_in, margin_in
    figure_width = left + num_columns * width + (num_columns - 1) * gap_in[0] + right
    figure_height = bottom + num_rows * height + (num_rows - 1) * gap_in[1] + top
    figure = new_figure(figure_width, figure_height, dpi=dpi)
    axes = [
        [
            figure.add_axes(
                (
                    (left + column * (width + gap_in[0])) / figure_width,
                    (bottom + (num_rows - 1 - row) * (height + gap_in[1])) / figure_height,
                    width / figure_width,
                    height / figure_height,
                )
            )
            for column in range(num_columns)
        ]
        for row in range(num_rows)
    ]
    return figure, axes


def colour_bar(
    figure: "Figure",
    mappable: "ScalarMappable",
    label: str,
    *,
    box_in: tuple[float, float, float, float],
    extend: str = "neither",
) -> None:
    """Draw a thin colour bar at left, bottom, width, height in inches; upright if it is taller."""
    width, height = figure.get_size_inches()
    left, bottom, bar_width, bar_height = box_in
    axis = figure.add_axes((left / width, bottom / height, bar_width / width, bar_height / height))
    upright = bar_height > bar_width
    bar = figure.colorbar(
        mappable,
        cax=axis,
        orientation="vertical" if upright else "horizontal",
        extend=extend,
        extendfrac=0.04,
    )
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=8.5)
    bar.ax.tick_params(length=2.5, width=0.6, labelsize=7.5)
    bar.ax.grid(False)


def render(figure: "Figure") -> "Image":
    """Draw a figure into an RGB Pillow image."""
    from PIL import Image

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return Image.fromarray(pixels[..., :3].copy())


def save_png(figure: "Figure", path: Path) -> Path:
    """Write a PNG whose bytes depend on the drawing alone: no version, no date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write(path, buffer.getvalue())
    return Path(path)
