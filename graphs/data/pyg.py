"""Snapshots from and to objects of PyTorch Geometric: lists of `Data`, `TemporalData`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int, Num, Shaped
from torch import Tensor
from torch_geometric.data import Data, TemporalData
from torch_geometric.edge_index import EdgeIndex

from graphs.data.edge_labels import UNKNOWN
from graphs.data.events import EdgeEvents, build_sequence
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.data_config import DataConfig

Target = Literal["node", "edge"]


def from_data_list(
    graphs: Sequence[Data],
    *,
    name: str = "data",
    directed: bool | None = None,
    target: Target = "node",
    node_ids: np.ndarray | None = None,
    unknown: int | None = None,
) -> SnapshotSequence:
    """One snapshot for each `Data`, in the order of the list.

    Read are `edge_index` (a tensor or an `EdgeIndex`), and where they are there `x`, `edge_weight`
    (else 1), `edge_attr`, `y` and `n_id`. Edges of a pair are summed. Row i of a graph is node
    `n_id[i]`, so that graphs may have different nodes; without `n_id` it is node i.

    Args:
        graphs: Graphs; one with fewer nodes than there are has the others absent.
        name: For messages.
        directed: None = edges as they stand, undirected if every graph has each pair in both
            directions with the same weight, as PyG keeps undirected graphs; False = count each
            edge in both directions; True = as they stand.
        target: Whether `y` belongs to nodes (whole numbers are classes, others values) or edges.
        node_ids: What node 0, 1, ... is called; none = the numbers in `n_id`, ascending.
        unknown: A class that means no label, such as 2 in PyG's Elliptic data.

    Raises:
        ValueError: Tensors that do not fit; naming the graph and the tensor.
    """
    if not graphs:
        raise ValueError("graphs is empty: give at least one Data")
    rows = [_node_rows(graph, step) for step, graph in enumerate(graphs)]
    if node_ids is None:
        node_ids = torch.cat(rows).unique().numpy()
        where = torch.from_numpy(node_ids)
        if any("n_id" in graph for graph in graphs):
            rows = [torch.searchsorted(where, one) for one in rows]
        else:
            node_ids = np.arange(len(node_ids))
    num_nodes = len(node_ids)
    parts: list[dict[str, Any]] = []
    for step, graph in enumerate(graphs):
        if len(rows[step]) and int(rows[step].max()) >= num_nodes:
            raise ValueError(f"graph {step}: n_id reaches {int(rows[step].max())} of {num_nodes}")
        parts.append(_edge_columns(graph, rows[step], step, target, unknown))
    columns: dict[str, Any] = {key: _joined([part[key] for part in parts], key) for key in parts[0]}
    events = EdgeEvents(
        name=name,
        node_ids=node_ids,
        step=np.repeat(np.arange(len(graphs)), [len(part["source"]) for part in parts]),
        **columns,
    )
    all_present = all(len(one) == num_nodes for one in rows)

    def fields(step: int) -> Mapping[str, Tensor]:
        return _node_fields(
            graphs[step], rows[step], step, num_nodes,
            all_present=all_present, target=target, unknown=unknown,
        )  # fmt: skip

    sequence = build_sequence(
        events,
        DataConfig(directed=directed is not False),
        first_step=0,
        num_steps=len(graphs),
        nodes=fields,
    )
    if directed is None and all(is_symmetric(snapshot) for snapshot in sequence):
        return replace(sequence, directed=False)
    return sequence


def to_data_list(sequence: SnapshotSequence, *, target: Target = "node") -> list[Data]:
    """Every snapshot as a `Data` with `edge_index`, `edge_weight` and what else there is.

    `y` is the class or the value of the nodes, or the class of the edges, by `target`. Where nodes
    come and go, `n_id` numbers the present ones.

    Raises:
        ValueError: An edge of a node that is not present.
    """
    changing = any(snapshot.present is not None for snapshot in sequence)
    graphs = []
    for step, snapshot in enumerate(sequence):
        rows = torch.arange(snapshot.num_nodes)
        if snapshot.present is not None:
            rows = snapshot.present.nonzero()[:, 0]
        local = torch.full((snapshot.num_nodes,), -1)
        local[rows] = torch.arange(len(rows))
        edge_index = local[snapshot.edge_index]
        if (edge_index < 0).any():
            node = int(snapshot.edge_index[edge_index < 0][0])
            raise ValueError(f"step {step}: node {node} has an edge but is not present")
        y = snapshot.edge_label
        if target == "node":
            y = snapshot.value if snapshot.node_label is None else snapshot.node_label
            y = None if y is None else y[rows]
        graph = Data(
            x=None if snapshot.x is None else snapshot.x[rows],
            edge_index=edge_index,
            edge_attr=snapshot.edge_attr,
            y=y,
            edge_weight=snapshot.weight,
            num_nodes=len(rows),
        )
        if changing:
            graph.n_id = rows
        graphs.append(graph)
    return graphs


def from_temporal_data(
    data: TemporalData,
    config: DataConfig,
    *,
    name: str = "TemporalData",
    node_ids: np.ndarray | None = None,
    unknown: int | None = None,
) -> SnapshotSequence:
    """Cut events into snapshots by the rule of `build_sequence`.

    `t` are seconds, or with `step_s` 0 numbers of steps; `msg` becomes `edge_attr`; `weight` is
    used where there is one; a `y` of whole numbers becomes the label of the edges. Nodes keep
    their numbers.

    Args:
        data: Events in any order.
        config: `step_s` (none = a day), `align`, `directed`, `drop_empty`, `max_steps`.
        name: For messages.
        node_ids: What node 0, 1, ... is called; none = their numbers up to the largest.
        unknown: A class that means no label.

    Raises:
        ValueError: Tensors that do not fit.
        UserError: No event, or more than 100,000 steps.
    """
    if node_ids is None:
        node_ids = np.arange(int(data.num_nodes) if len(data.src) else 0)
    message, label = data.msg if "msg" in data else None, None
    if "y" in data and (bool(data.y.isnan().any()) or bool((data.y == data.y.round()).all())):
        label = _classes(data.y, name, unknown).numpy()
    events = EdgeEvents(
        name=name,
        source=data.src.long().numpy(),
        target=data.dst.long().numpy(),
        node_ids=node_ids,
        time_s=None if config.step_s == 0 else data.t.double().numpy(),
        step=data.t.long().numpy() if config.step_s == 0 else None,
        weight=data.weight.double().numpy() if "weight" in data else None,
        label=label,
        attributes=message.float().numpy() if message is not None and message.numel() else None,
    )
    return build_sequence(events, config)


def to_temporal_data(sequence: SnapshotSequence) -> TemporalData:
    """All pairs as events whose `t` is the number of their step, `weight` beside `msg` and `y`.

    Of an undirected sequence one direction is taken, and half the weight of a self-loop: read with
    `step_s` 0 and the same `directed` it comes back. Empty steps at either end have no event, and
    fields of nodes have no place.
    """
    parts: dict[str, list[Tensor]] = {key: [] for key in ("src", "dst", "t", "msg", "weight", "y")}
    for step, snapshot in enumerate(sequence):
        source, target = snapshot.edge_index
        kept = torch.ones_like(source, dtype=torch.bool) if sequence.directed else source <= target
        weight = snapshot.weight
        if not sequence.directed:
            weight = torch.where(source == target, weight / 2, weight)
        message = snapshot.edge_attr
        parts["src"].append(source[kept])
        parts["dst"].append(target[kept])
        parts["t"].append(torch.full_like(source[kept], step))
        parts["weight"].append(weight[kept])
        parts["msg"].append(
            weight.new_zeros(len(weight), 0)[kept] if message is None else message[kept]
        )
        if snapshot.edge_label is not None:
            parts["y"].append(snapshot.edge_label[kept])
    return TemporalData(**{key: torch.cat(tensors) for key, tensors in parts.items() if tensors})


def is_symmetric(snapshot: Snapshot) -> bool:
    """Whether every pair stands there in both directions with the same weight."""
    back, order = torch.sort(snapshot.edge_index[1] * snapshot.num_nodes + snapshot.edge_index[0])
    return torch.equal(back, snapshot.pair_keys) and torch.equal(
        snapshot.weight[order], snapshot.weight
    )


def _node_rows(graph: Data, step: int) -> Int[Tensor, " nodes"]:
    """Number of the node of every row of a graph."""
    count = int(graph.num_nodes or 0)
    if "n_id" not in graph:
        return torch.arange(count)
    rows: Tensor = graph.n_id.long()
    if rows.shape != (count,) or len(rows.unique()) < count or (count and int(rows.min()) < 0):
        raise ValueError(
            f"graph {step}: n_id must number its {count} nodes, each once and from 0 on, got "
            f"{list(rows.shape)}"
        )
    return rows


def _edge_columns(
    graph: Data, rows: Int[Tensor, " nodes"], step: int, target: Target, unknown: int | None
) -> dict[str, Any]:
    index = graph.edge_index
    index = index.as_tensor() if isinstance(index, EdgeIndex) else index
    edges = index.shape[1]
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(rows):
        raise ValueError(
            f"graph {step}: edge_index must lie in [0, {len(rows)}), got {int(index.min())} to "
            f"{int(index.max())}"
        )
    source, goal = rows[index.long()]
    weight, attributes = graph.get("edge_weight"), graph.get("edge_attr")
    label = graph.get("y") if target == "edge" else None
    for name, values in (("edge_weight", weight), ("edge_attr", attributes), ("y", label)):
        if values is not None and len(values) != edges:
            raise ValueError(f"graph {step}: {name} has {len(values)} rows for {edges} edges")
    return {
        "source": source.numpy(),
        "target": goal.numpy(),
        "weight": None if weight is None else weight.reshape(-1).double().numpy(),
        "attributes": None if attributes is None else attributes.reshape(edges, -1).float().numpy(),
        "label": None if label is None else _classes(label, f"graph {step}", unknown).numpy(),
    }


def _classes(y: Shaped[Tensor, "*items"], place: str, unknown: int | None) -> Tensor:
    """Classes 0, 1, ...; -1 where there is no label.

    Raises:
        ValueError: Numbers that are no classes.
    """
    y = y.reshape(-1)
    if y.is_floating_point() and not bool((y == y.round()).all()):  # NaN as well
        raise ValueError(f"{place}: y must be whole numbers, which classes are")
    classes = y.long()
    if unknown is not None:
        classes = torch.where(classes == unknown, UNKNOWN, classes)
    if len(classes) and int(classes.min()) < UNKNOWN:
        raise ValueError(
            f"{place}: y goes down to {int(classes.min())}; number classes from 0, -1 is no label "
            "(another number for it: unknown=)"
        )
    return classes


def _joined(parts: list[np.ndarray | None], name: str) -> np.ndarray | None:
    given = [part for part in parts if part is not None]
    if not given:
        return None
    if len(given) < len(parts):
        raise ValueError(f"{name} stands in {len(given)} of {len(parts)} graphs alone")
    joined: np.ndarray = np.concatenate(given)
    return joined


def _node_fields(
    graph: Data,
    rows: Int[Tensor, " nodes"],
    step: int,
    num_nodes: int,
    *,
    all_present: bool,
    target: Target,
    unknown: int | None,
) -> dict[str, Tensor]:
    def spread(
        values: Shaped[Tensor, "nodes *columns"], empty: int | float
    ) -> Num[Tensor, "all *columns"]:
        if len(values) != len(rows):
            raise ValueError(f"graph {step}: {len(values)} rows of nodes for {len(rows)}")
        everywhere = values.new_full((num_nodes, *values.shape[1:]), empty)
        everywhere[rows] = values
        return everywhere

    fields: dict[str, Tensor] = {}
    if graph.x is not None:
        fields["x"] = spread(graph.x, 0.0)
    if not all_present:
        fields["present"] = torch.zeros(num_nodes, dtype=torch.bool)
        fields["present"][rows] = True
    y = graph.get("y")
    if target == "node" and y is not None:
        if y.is_floating_point():
            fields["value"] = spread(y.reshape(-1), float("nan"))
        else:
            fields["node_label"] = spread(_classes(y, f"graph {step}", unknown), UNKNOWN)
    return fields
