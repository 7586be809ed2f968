"""Edges with times, as every reader delivers them, and how they are cut into snapshots."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor

from foretell.errors import UserError
from graphs.data.edge_labels import majority_labels
from graphs.data.snapshots import Snapshot, SnapshotSequence, merge_pairs
from graphs.data_config import DataConfig

_log = logging.getLogger(__name__)

DAY_S = 86_400.0
MAX_STEPS = 100_000
NodeFields = Callable[[int], Mapping[str, Tensor]]
"""Fields of the nodes (x, node_label, value, present) of the snapshot with this number."""


@dataclass(frozen=True)
class EdgeEvents:
    """Edges of a changing graph in any order, each with its time or the number of its step.

    Raises:
        ValueError: Lengths that differ, both or neither of `time_s` and `step`, a node or a class
            out of range, a time that is not finite, a weight that is negative or not finite.
    """

    name: str
    """For messages, such as the file's name."""
    source: Int64[ndarray, " edges"]
    """Numbers of nodes in [0, num_nodes)."""
    target: Int64[ndarray, " edges"]
    node_ids: np.ndarray
    """What the data call node 0, 1, ...: ascending numbers or text, or as a table of nodes has
    them."""
    time_s: Float64[ndarray, " edges"] | None = None
    """Unix seconds, in any order."""
    step: Int64[ndarray, " edges"] | None = None
    """Number of the step where the data number their steps."""
    weight: Float64[ndarray, " edges"] | None = None
    """None = 1 each."""
    label: Int64[ndarray, " edges"] | None = None
    """Class; -1 = unknown."""
    class_names: tuple[str, ...] = ()
    """What the data call the classes 0, 1, ..."""
    attributes: Float32[ndarray, "edges columns"] | None = None
    """Numbers that describe an edge."""
    attribute_names: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason."""

    def __post_init__(self) -> None:
        if (self.time_s is None) == (self.step is None):
            raise ValueError("give either time_s or step")
        for name in ("target", "time_s", "step", "weight", "label", "attributes"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.source):
                raise ValueError(f"{name} has {len(values)} rows for {len(self.source)} sources")
        if not len(self.source):
            return
        low = min(self.source.min(), self.target.min())
        high = max(self.source.max(), self.target.max())
        if low < 0 or high >= len(self.node_ids):
            raise ValueError(f"nodes must lie in [0, {len(self.node_ids)}), got {low} to {high}")
        if self.time_s is not None and not np.isfinite(self.time_s).all():
            raise ValueError("time_s must be finite")
        if self.weight is not None and not (
            np.isfinite(self.weight).all() and self.weight.min() >= 0
        ):
            raise ValueError("weight must be finite and not negative")
        if self.label is not None and self.label.min() < -1:
            raise ValueError(f"label must be a class or -1, got {self.label.min()}")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def num_self_loops(self) -> int:
        """Edges from a node to itself; they are kept."""
        return int(np.count_nonzero(self.source == self.target))


def build_sequence(
    events: EdgeEvents,
    config: DataConfig,
    *,
    default_step_s: float = DAY_S,
    first_step: int | None = None,
    num_steps: int | None = None,
    nodes: NodeFields | None = None,
) -> SnapshotSequence:
    """Cut edges into snapshots.

    Step of a time t: floor((int(t) - int(t_min)) / step_s), or with `align` epoch floor(int(t) /
    step_s) counted from the first step that has an edge; below one second t is not made whole.
    Numbered steps are counted from the first. Edges of a pair within a step are summed, in both
    directions unless `directed`; their attributes are averaged (unweighted) and their labels vote.

    Args:
        events: The edges.
        config: `step_s`, `align`, `directed`, `drop_empty` and `max_steps` are used.
        default_step_s: Seconds of a step where the configuration has none.
        first_step: Numbered steps: which number is snapshot 0; none = the smallest.
        num_steps: At least so many snapshots; none = until the last edge.
        nodes: Fields of the nodes; called with the number of the snapshot before empty ones are
            dropped.

    Raises:
        UserError: No edge, a step that does not suit the times, more than 100,000 steps.
    """
    if not len(events):
        raise UserError(f"{events.name} holds no edge{_because(events.dropped)}")
    step, step_s, start_s = _steps(events, config, default_step_s, first_step)
    total = max(int(step.max()) + 1, num_steps or 1)
    if total > MAX_STEPS:
        raise UserError(
            f"{events.name}: {total:,} steps of {step_s or 1:,.10g} s, more than {MAX_STEPS:,}; "
            "choose a larger data.step_s, or look for a time that is wrong or in milliseconds"
        )
    order = None
    if (step[1:] < step[:-1]).any():
        small = step.astype(np.uint16) if total <= 2**16 else step  # radix sort
        order = np.argsort(small, kind="stable")
        step = step[order]
    bounds = np.searchsorted(step, np.arange(total + 1))
    empty = int((np.diff(bounds) == 0).sum())
    snapshots: list[Snapshot] = []
    for number in range(total):
        begin, end = bounds[number : number + 2]
        if begin == end and config.drop_empty:
            continue
        if len(snapshots) == config.max_steps:
            break
        rows = slice(begin, end) if order is None else order[begin:end]
        fields = {} if nodes is None else nodes(number)
        snapshots.append(_snapshot(events, rows, directed=config.directed, fields=fields))
    _log.info(
        "%s: %d nodes, %d edges, %d snapshots%s; %d steps without an edge%s, %d self-loops kept%s",
        events.name,
        len(events.node_ids),
        len(events),
        len(snapshots),
        f" of {step_s:,.10g} s" if step_s else "",
        empty,
        " left out" if config.drop_empty else "",
        events.num_self_loops,
        _because(events.dropped),
    )
    _check_finite(events.name, snapshots)
    return SnapshotSequence(
        name=events.name,
        snapshots=tuple(snapshots),
        node_ids=events.node_ids,
        directed=config.directed,
        step_s=step_s,
        start_s=start_s,
        dropped=events.dropped,
        class_names=events.class_names,
        attribute_names=events.attribute_names,
    )


def _check_finite(name: str, snapshots: Sequence[Snapshot]) -> None:
    """Refuse gaps in columns of nodes and edges, which would make every loss NaN."""
    checked: set[int] = set()  # features are often the same at every step
    for step, snapshot in enumerate(snapshots):
        for column in ("x", "edge_attr"):
            values = getattr(snapshot, column)
            if values is None or id(values) in checked:
                continue
            checked.add(id(values))
            if not bool(values.isfinite().all()):
                row = int((~values.isfinite()).any(1).nonzero()[0, 0])
                raise ValueError(
                    f"{name}: {column} of step {step} is not finite in row {row}; fill the gap or "
                    "leave the column out"
                )


def _steps(
    events: EdgeEvents, config: DataConfig, default_step_s: float, first_step: int | None
) -> tuple[Int64[ndarray, " edges"], float | None, float]:
    """Number of every edge's snapshot, seconds of a step, time at which snapshot 0 begins."""
    when: Any = events.time_s if events.step is None else events.step
    if backwards := int(np.count_nonzero(when[1:] < when[:-1])):
        _log.info("%s: %d rows out of order of time; sorted", events.name, backwards)
    if events.step is not None:
        if config.step_s:
            raise UserError(
                f"{events.name} numbers its steps, so data.step_s {config.step_s:g} has no "
                "meaning; leave it out"
            )
        first = int(events.step.min()) if first_step is None else first_step
        if int(events.step.min()) < first:
            raise ValueError(f"first_step {first} lies after step {events.step.min()}")
        return events.step - first, None, 0.0
    if config.step_s == 0:
        raise UserError(
            f"{events.name} has times, not numbers of steps: data.step_s must be above 0 seconds"
        )
    step_s = config.step_s or default_step_s
    times = np.floor(when) if step_s >= 1 else when
    if config.align == "epoch":
        number = np.floor(times / step_s)
        first_number = number.min()
        start_s = float(first_number * step_s)
        number -= first_number
    else:
        start_s = float(times.min())
        number = np.floor((times - start_s) / step_s)
    if number.max() >= 2**62:
        raise UserError(f"{events.name}: data.step_s {step_s:g} is too small; choose a larger one")
    return number.astype(np.int64), step_s, start_s


def _snapshot(
    events: EdgeEvents, rows: Any, *, directed: bool, fields: Mapping[str, Any]
) -> Snapshot:
    def taken(values: ndarray) -> Tensor:
        return torch.from_numpy(np.array(values[rows]))

    source, target = taken(events.source), taken(events.target)
    weight = torch.ones(len(source), dtype=torch.float64)
    if events.weight is not None:
        weight = taken(events.weight)
    edge_index, total, pair = merge_pairs(
        source, target, weight, num_nodes=len(events.node_ids), directed=directed
    )
    num_pairs, turns = edge_index.shape[1], 1 if directed else 2
    label = attributes = None
    if events.label is not None:
        label = majority_labels(pair, taken(events.label).repeat(turns), num_pairs)
    if events.attributes is not None:
        values = taken(events.attributes).double().repeat(turns, 1)
        summed = torch.zeros(num_pairs, values.shape[1], dtype=torch.float64)
        summed.index_add_(0, pair, values)
        attributes = (summed / torch.bincount(pair, minlength=num_pairs)[:, None]).float()
    return Snapshot(
        num_nodes=len(events.node_ids),
        edge_index=edge_index,
        weight=total.float(),
        edge_attr=attributes,
        edge_label=label,
        **fields,
    )


def _because(dropped: Mapping[str, int]) -> str:
    told = [f"{count:,} rows dropped: {reason}" for reason, count in dropped.items() if count]
    return f" ({'; '.join(told)})" if told else ""
