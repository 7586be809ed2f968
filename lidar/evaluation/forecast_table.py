"""Tables of forecast metrics for the terminal; one table per protocol and ray group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from lidar.evaluation.forecast_metrics import FORMULA_VERSION
from lidar.evaluation.protocols import MEAN, Protocol, horizon_label

RAYS_ORDER = ("all", "nonground", "moving", "static", "ground")
WHO_ORDER = (
    "model", "copy_last", "zero_action", "shuffled_action", "no_time", "const_velocity_oracle",
)  # fmt: skip
COLUMNS = {
    "l1_m": "L1 m",
    "l1_median_m": "median m",
    "absrel_pct": "AbsRel %",
    "l1_4docc_m": "L1 4D-Occ m",
    "cd_m2": "CD m²",
    "nfcd_m2": "NFCD m²",
    "missed_volume_share": "missed",
}


@dataclass(frozen=True)
class TableCaption:
    """What must stand beside every number."""

    num_sweeps: int
    """Input sweeps."""
    protocol_titles: Mapping[str, str]
    """Protocol name (empty = config ranges) -> title."""

    def text(self, protocol: str, rays: str) -> str:
        """One line: protocol, formula version, input sweeps, pose, rays."""
        title = self.protocol_titles.get(protocol, protocol)
        sweeps = f"{self.num_sweeps} input sweep{'s' if self.num_sweeps != 1 else ''}"
        return f"{title} | {rays} rays | formulas v{FORMULA_VERSION} | {sweeps} | future pose given"


def forecast_tables(metrics: Mapping[str, float], caption: TableCaption) -> list[Table]:
    """Tables of every protocol and ray group, rows = who and horizon, lower is better.

    Args:
        metrics: Flat metrics of `lidar.evaluation.forecast.score`.
        caption: What stands above each table.
    """
    cells: dict[tuple[str, str], dict[tuple[str, str], dict[str, float]]] = {}
    for key, value in metrics.items():
        part, *protocol, who, rays, horizon, name = key.split("/")
        if part != "forecast":
            continue
        group = cells.setdefault(("/".join(protocol), rays), {})
        group.setdefault((horizon, who), {})[name] = value
    ordered = sorted(cells, key=lambda group: (group[0], _rank(group[1], RAYS_ORDER)))
    return [_table(caption, *group, cells[group]) for group in ordered]


def mark_extrapolated(
    metrics: Mapping[str, float],
    *,
    who: Sequence[str],
    protocols: Sequence[Protocol],
    trained_horizons_s: Sequence[float],
) -> dict[str, float]:
    """Add `extrapolated` = 1 beside every slice of a model beyond its trained horizons.

    A pooled mean is marked when any of its protocol's horizons is beyond them.
    """
    furthest = max(trained_horizons_s)
    beyond = {
        protocol.name: {
            name
            for horizon in protocol.horizons_s
            if horizon > furthest + 1e-6
            for name in (horizon_label(horizon), MEAN)
        }
        for protocol in protocols
    }
    marked = dict(metrics)
    for key in metrics:
        _, *protocol_name, name, _, horizon, metric = key.split("/")
        slices = beyond.get("/".join(protocol_name), set())
        if metric == "frames" and name in who and horizon in slices:
            marked[key.removesuffix("frames") + "extrapolated"] = 1.0
    return marked


def _table(
    caption: TableCaption,
    protocol: str,
    rays: str,
    rows: Mapping[tuple[str, str], Mapping[str, float]],
) -> Table:
    names = [name for name in COLUMNS if any(name in row for row in rows.values())]
    table = Table(title=caption.text(protocol, rays), title_justify="left")
    table.add_column("horizon")
    table.add_column("forecast")
    for name in names:
        table.add_column(COLUMNS[name], justify="right")
    table.add_column("frames", justify="right")
    order = sorted(rows, key=lambda row: (_seconds(row[0]), _rank(row[1], WHO_ORDER), row[1]))
    for i, (horizon, who) in enumerate(order):
        row = rows[horizon, who]
        is_first = i == 0 or order[i - 1][0] != horizon
        beyond = any(rows[other].get("extrapolated") for other in order if other[0] == horizon)
        label = f"{horizon} extrapolated" if beyond else horizon
        table.add_row(
            label if is_first else "",
            who,
            *(_cell(row.get(name)) for name in names),
            f"{row.get('frames', 0):.0f}" + _skipped(row),
            end_section=i + 1 == len(order) or order[i + 1][0] != horizon,
        )
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _skipped(row: Mapping[str, float]) -> str:
    skipped = max((value for name, value in row.items() if name.endswith("_skipped")), default=0.0)
    return f" (-{skipped:.0f})" if skipped else ""


def _seconds(horizon: str) -> float:
    return float("inf") if horizon == MEAN else float(horizon.removesuffix("s"))


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
