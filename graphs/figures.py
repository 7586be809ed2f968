"""Pictures of a run: training curves, and link metrics over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foretell.run import atomic_path
from graphs.evaluation.results import LinkResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#d55e00", "#5c6770")
LABELS = {"ap": "average precision", "mrr": "mean reciprocal rank"}


def training_curves(path: Path, history: Sequence[dict[str, float]], watched: str) -> None:
    """Loss of every logged step and the watched validation metric.

    Args:
        path: PNG to write.
        history: Rows of metrics.csv.
        watched: Name of the validation metric.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name in zip(panels, ("train/loss", f"val/{watched}"), strict=True):
        rows = [row for row in history if name in row]
        axes.plot([row["step"] for row in rows], [row[name] for row in rows], color=COLOURS[0])
        axes.set(xlabel="optimiser step", ylabel=name)
        _plain(axes)
    _save(figure, path)


def links_over_time(path: Path, results: Sequence[LinkResult], names: Sequence[str]) -> None:
    """Average precision and MRR of every scored step, one line for each predictor.

    Args:
        path: PNG to write.
        results: Of one protocol.
        names: Whose they are.
    """
    from matplotlib.figure import Figure

    metrics = [name for name in LABELS if name in results[0].values]
    figure = Figure(figsize=(5 * len(metrics), 3.4), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for place, (name, result) in enumerate(zip(names, results, strict=True)):
            axes.plot(
                result.steps, result.values[metric],
                color=COLOURS[place % len(COLOURS)], label=name.replace("_", " "),
                linewidth=1.8 if place == 0 else 1.0,
            )  # fmt: skip
        axes.set(xlabel="step", ylabel=LABELS[metric], title=results[0].protocol)
        axes.set_ylim(bottom=0)
        _plain(axes)
    panels[-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, path)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e8ea", linewidth=0.6)
    axes.set_axisbelow(True)


def _save(figure: object, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
